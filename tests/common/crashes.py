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
Matters = Callable[..., bool]


def die() -> None:
    """Like kill -9: no handler runs, nothing is flushed."""
    os._exit(STATUS)


def always(*_: object) -> bool:
    return True


def before(owner: Any, name: str, matters: Matters = always, times: int = 1) -> Arm:
    """Die when the function is called so often with something that matters."""

    def arm() -> None:
        carry_out = getattr(owner, name)
        left = [times]

        async def crashing(*arguments: Any, **options: Any) -> Any:
            matter = matters(*arguments)
            left[0] -= matter
            if matter and not left[0]:
                die()
            return await carry_out(*arguments, **options)

        setattr(owner, name, crashing)

    return arm


def after(owner: Any, name: str, matters: Matters = always, times: int = 1) -> Arm:
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


def _has_batch(_: Handling, batch: Any) -> bool:
    return bool(batch)


def _speaks(work: Any, *_: object) -> bool:
    return bool(work.records)


def _has_records(_: Outbox, seqs: Any, records: Any) -> bool:
    return bool(records)


def _has_confirmed(outbox: Outbox) -> bool:
    return bool(outbox._sent)


def of_hearing(n: int = 1) -> dict[str, Arm]:
    """Until the `n`th batch is committed, whether anything is said of it or not."""
    return {
        "polled": before(Handling, "until_done", _has_batch, n),
        "transaction begun": before(inbox, "enter", times=n),
        "fenced and entered": after(inbox, "enter", times=n),
        "handled": after(Work, "handle", times=n),
        "taken up": before(Handling, "_tell", times=n),
    }


def of_saying(n: int = 1, half: int = 3) -> dict[str, Arm]:
    """Until what the `n`th transaction that says something has said is out; it is half out after `half` messages."""
    return {
        "said": before(Work, "keep", _speaks, n),
        "written": after(Work, "keep", _speaks, n),
        "committed": before(Outbox, "publish", _has_records, n),
        "half published": after(Outbox, "_send", times=half),
        "published": after(Outbox, "publish", _has_records, n),
    }


OF_FORGETTING: dict[str, Arm] = {
    "confirmed": before(Outbox, "_forget", _has_confirmed),
    "forgotten": after(Outbox, "_forget", _has_confirmed),
}
POINTS: dict[str, Arm] = {**of_hearing(), **of_saying(), **OF_FORGETTING}
WHILE_ADOPTING = "what the dead had said is sent again, not forgotten"
POINTS[WHILE_ADOPTING] = after(Outbox, "_send", times=1)
