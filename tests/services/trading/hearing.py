"""Trading as the runtime drives it: a batch of messages in, what it says out."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from libs.common.contracts.base import Message
from libs.common.database import Connection
from libs.common.testing import NOON, deliver
from services.trading.app import app
from services.trading.memory import TradingMemory

M = TypeVar("M", bound=Message)


class Trading:
    """One batch per call, as the runtime would run it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.memory = TradingMemory()
        """Markets that never close, unless a test gives it hours."""

    async def hears(self, *messages: Message, now: datetime = NOON) -> list[Message]:
        return await deliver(app, self.connection, *messages, memory=self.memory, now=now)


def only(kind: type[M], said: Sequence[Message]) -> M:
    [found] = [message for message in said if isinstance(message, kind)]
    return found


def names(said: Sequence[Message]) -> list[str]:
    return [type(message).__name__ for message in said]
