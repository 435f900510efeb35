"""Who may come in, for those services that act for somebody without being asked by him."""

from libs.common.contracts.base import Event
from libs.common.contracts.ids import UserId


class UserAccessChanged(Event):
    """An admin shut a user out, or let him in again. Who is shut out opens nothing more, by webhook or algo; what he
    holds can still be closed. Said of users whose access ever changed; the newest `version` counts.
    """

    user_id: UserId
    active: bool
    version: int
