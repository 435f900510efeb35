"""A process that cannot go on ends itself, so that whoever supervises it starts it anew. Nothing else would.

What it had in hand is noted first (libs/common/messaging/suspects.py), or it would hang there again for ever.
Time counts only as far as the process had it: one that was stopped, or whose machine slept, has not stood still.
A call that keeps the interpreter's lock (an endless regular expression) silences the watchdog, too.
"""

import asyncio
import contextlib
import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

from libs.common.clock import stopwatch
from libs.common.telemetry import log

LAST_WORDS_SECONDS = 5.0
"""How long a process may take to end after one of its parts has failed. Whatever it was doing, a kill is harmless."""
NOTE_SECONDS = 3.0
"""How much of that it waits until it is noted what it had in hand."""
STILL_SECONDS = 60.0
"""Nothing that belongs into the event loop takes so long, not on a machine that is many times too slow either."""
LOOK_SECONDS = 1.0

Note = Callable[["asyncio.Task[Any] | None"], None]
"""What is told which task hangs, on a thread of its own, before the process ends."""


def give_up(event: str, note: Callable[[], None], **fields: object) -> NoReturn:
    """Say what is wrong and where every thread stands, and end: by the kernel, if nobody takes our words.

    `note` has NOTE_SECONDS; a process that cannot leave one ends without.
    """
    signal.setitimer(signal.ITIMER_REAL, LAST_WORDS_SECONDS)  # nobody handles SIGALRM
    noting = threading.Thread(target=note, name="note", daemon=True)
    noting.start()
    log.critical(event, **fields)
    faulthandler.dump_traceback(all_threads=True)
    noting.join(NOTE_SECONDS)
    os._exit(1)


@contextlib.contextmanager
def watched(loop: asyncio.AbstractEventLoop, note: Note) -> Iterator[None]:
    """The loop may not stand still for STILL_SECONDS: a thread asks it for a sign of life, again and again."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(loop, note, over), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(loop: asyncio.AbstractEventLoop, note: Note, over: threading.Event) -> None:
    answered, silent, looked_at = threading.Event(), 0.0, stopwatch()
    loop.call_soon_threadsafe(answered.set)
    while not over.wait(LOOK_SECONDS):
        now = stopwatch()
        passed, looked_at = now - looked_at, now
        if answered.is_set():
            silent = 0.0
            answered.clear()
            loop.call_soon_threadsafe(answered.set)
            continue
        silent += min(passed, 2 * LOOK_SECONDS)
        if silent >= STILL_SECONDS:
            give_up("loop_stands_still", partial(note, asyncio.current_task(loop)), seconds=round(silent))
