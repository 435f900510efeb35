"""Where a process may die between a message's arrival and the end of its story: CRASH_AT names the place.

The child process replaces one function of the runtime by one that dies around it; nothing of this is in the product.
"""

import os
from collections.abc import Callable
from typing import Any

from libs.common.messaging import inbox
from libs.common.messaging.handling import Handling
from libs.common.messaging.outbox import Outbox
from libs.common.messaging.work import Work

STATUS = 86
"""The exit status of a process that died where it was told to."""

Arm = Callable[[], None]


def die() -> None:
    """Like kill -9: no handler runs, nothing is flushed."""
    os._exit(STATUS)


def before(owner: Any, name: str, matters: Callable[..., bool]) -> Arm:
    """Die when the function is called with something that matters."""

    def arm() -> None:
        carry_out = getattr(owner, name)

        async def crashing(*arguments: Any, **options: Any) -> Any:
            if matters(*arguments):
                die()
            return await carry_out(*arguments, **options)

        setattr(owner, name, crashing)

    return arm


def after(owner: Any, name: str, matters: Callable[..., bool], times: int = 1) -> Arm:
    """Die when the function was called so often with something that matters, and has done its work."""

    def arm() -> None:
        carry_out = getattr(owner, name)
        left = [times]

        async def crashing(*arguments: Any, **options: Any) -> Any:
            matter = matters(*arguments)
            result = await carry_out(*arguments, **options)
            left[0] -= matter
            if matter and not left[0]:
                die()
            return result

        setattr(owner, name, crashing)

    return arm


def _always(*_: object) -> bool:
    return True


def _has_batch(_: Handling, batch: Any) -> bool:
    return bool(batch)


def _has_records(_: Outbox, seqs: Any, records: Any) -> bool:
    return bool(records)


def _has_confirmed(outbox: Outbox) -> bool:
    return bool(outbox._sent)


POINTS: dict[str, Arm] = {
    "polled": before(Handling, "until_done", _has_batch),
    "transaction begun": before(inbox, "enter", _always),
    "fenced and entered": after(inbox, "enter", _always),
    "handled": after(Work, "handle", _always),
    "written": after(Work, "keep", _always),
    "committed": before(Outbox, "publish", _has_records),
    "half published": after(Outbox, "_send", _always, times=3),
    "published": after(Outbox, "publish", _has_records),
    "confirmed": before(Outbox, "_forget", _has_confirmed),
    "forgotten": after(Outbox, "_forget", _has_confirmed),
}
WHILE_ADOPTING = "what the dead had said is sent again, not forgotten"
POINTS[WHILE_ADOPTING] = after(Outbox, "_send", _always, times=1)
