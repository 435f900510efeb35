"""Whether this process leads: what its tasks ask before they do what only one may do at a time.

Who begins and ends those tasks, and tells what was seen of the leases: leadership.py.
"""

from enum import Enum

from libs.common.clock import stopwatch
from libs.common.messaging.leases import SILENT_S
from libs.common.telemetry import log

_STILL_S = 1.0
"""Who stood still for so long asks himself how old his last sign of life is."""


class Role(Enum):
    UNKNOWN = "starting"
    """Nobody has told us yet; or we have resigned, and go."""
    LEADER = "leader"
    STANDBY = "standby"


class Lead:
    """Our role, and whether we were awake enough to know that it still is."""

    def __init__(self) -> None:
        self.role = Role.UNKNOWN
        self._awake_at: float | None = None
        self._sign_of_life_at = 0.0
        """When the last look was asked for that was answered: the others count from then, or later."""
        self._woke_at: float | None = None
        """Since when we have to look before we do anything more."""

    def leads(self) -> bool:
        """Whether what only the leader may do may be done at this moment. To be asked right before it is done.

        Who slept until the others may think it dead has to look first.
        """
        self.notice_sleep()
        return self.role is Role.LEADER and self._woke_at is None

    def begin(self) -> None:
        """Sleep is noticed from now on."""
        self._awake_at = self._sign_of_life_at = stopwatch()

    def notice_sleep(self) -> None:
        """To be called often: between two calls we were awake if not much time went by."""
        if self._awake_at is None:
            return
        now = stopwatch()
        if now - self._awake_at > _STILL_S and now - self._sign_of_life_at >= SILENT_S:
            log.warning("slept", seconds=round(now - self._awake_at, 1))
            self._woke_at = now
        self._awake_at = now

    def looked(self, asked_at: float) -> None:
        """A look was answered that was asked for at `asked_at`."""
        self.notice_sleep()
        self._sign_of_life_at = asked_at
        if self._woke_at is not None and asked_at > self._woke_at:
            self._woke_at = None
