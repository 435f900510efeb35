"""Who may come in, for those services that act for somebody without being asked by him."""

from libs.common.contracts.base import Event
from libs.common.contracts.ids import UserId


class UserAccessChanged(Event):
    """An admin shut a user out or made him a viewer, or lets him trade again. Who may not trade opens nothing more, by
    webhook or algo; what he holds can still be closed. Said of users of whom that ever changed; the newest `version`
    counts.
    """

    user_id: UserId
    may_trade: bool
    version: int
