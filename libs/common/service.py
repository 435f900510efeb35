"""How a service says what it reads, what it writes and what it does about it.

Only words live here; libs.common.messaging carries them out.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic
from uuid import UUID

from typing_extensions import TypeVar

from libs.common import ids
from libs.common.contracts.base import Delivery, Envelope, Message, Topic
from libs.common.database import Connection
from libs.common.reads import Reads
from libs.common.writes import Writes

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.types import ASGIApp

    from libs.common import websocket
    from libs.common.runtime import Runtime


class Store:
    """A service's tables within one transaction: an identity map that loads by the batch and saves by the batch.

    The runtime makes one per transaction, calls `ask_on_entering` and `prefetch` with the batch before the first
    handler, and `flush` after the last. Handlers ask and save as if there were one message.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.reads = Reads(connection)
        self.writes = Writes(connection)

    def ask_on_entering(self, messages: Sequence[Message]) -> None:
        """Put into `reads` what the batch's transaction asks first: the locks that come before all that it reads.

        It is asked with the fence, in one round trip; of a row that is locked the newest version is answered.
        `prefetch` may get fewer of these messages, without those that were handled before.
        """

    async def lock_for(self, messages: Sequence[Message]) -> None:
        """As on entering, for who passes no fence."""
        self.ask_on_entering(messages)
        await self.reads.send()

    async def prefetch(self, messages: Sequence[Message]) -> None:
        """Load what these messages will need, in a few set-based queries, locking rows that will change."""

    async def flush(self) -> None:
        """Put what was saved into `writes`, in a few set-based statements (`unnest`).

        The runtime sends them together with the outbox, in one round trip.
        """

    async def write(self) -> None:
        """Flush and send now, for who must read what was saved within the same transaction."""
        await self.flush()
        await self.writes.send()


class Memory:
    """What a process may forget: latest-wins views filled by streams, and clients of the outside world."""

    async def open(self, runtime: "Runtime[Any, Any]") -> None:
        """Before the first message."""

    async def close(self) -> None:
        """After the last."""


M = TypeVar("M", bound=Message)
S = TypeVar("S", bound=Store, default=Store)
V = TypeVar("V", bound=Memory, default=Memory)


@dataclass(frozen=True, slots=True)
class Context(Generic[S, V]):
    """What a handler may touch: its store, inside one transaction, its memory, the time and the causing message."""

    store: S
    memory: V
    now: datetime
    cause: Envelope

    def derive(self, *names: object) -> UUID:
        """An id that is the same whenever this message is handled again."""
        return ids.derive(self.cause.id, *names)


Handler = Callable[[M, Context[S, V]], Awaitable[Sequence[Message]]]
StreamHandler = Callable[[Sequence[M], V], Awaitable[None]]
TimerHandler = Callable[[Context[S, V]], Awaitable[Sequence[Message]]]


@dataclass(frozen=True)
class Subscription(Generic[S, V]):
    topic: Topic
    message: type[Message]
    handler: Handler[Any, S, V]
    patience: float = 0.0
    given_up: Handler[Any, S, V] | None = None


class Start(Enum):
    """Where a stream begins when the process does."""

    BEGINNING = "the whole topic, before the service is ready (compacted entity state)"
    RECENT = "fifteen seconds back (what repeats itself)"
    LATEST = "now"


@dataclass(frozen=True)
class Stream(Generic[V]):
    topic: Topic
    message: type[Message]
    handler: StreamHandler[Any, V]
    start: Start
    prompt: bool = False


@dataclass(frozen=True)
class Timer(Generic[S, V]):
    seconds: float
    handler: TimerHandler[S, V]


def on(
    topic: Topic,
    message: type[M],
    handler: Handler[M, S, V],
    *,
    patience: float = 0.0,
    given_up: Handler[M, S, V] | None = None,
) -> Subscription[S, V]:
    """Exactly-once in effect: the handler's writes, its events and the offset commit together.

    `patience` is how many seconds the message may wait for company: bookkeeping shares the transaction of the next
    urgent message (which finds it done), instead of costing one of its own.

    `given_up` handles the message in the handler's place once a person discards it: who waits for what becomes of it
    hears that nothing will, and what is set aside for it is free.
    """
    _check(topic, message)
    return Subscription(topic, message, handler, patience, given_up)


def stream(
    topic: Topic, message: type[M], handler: StreamHandler[M, V], start: Start, *, prompt: bool = False
) -> Stream[V]:
    """At-least-once, latest-wins, for every instance: fills memory. Nothing that moves money may be one.

    `prompt` for what people watch: each message within some three milliseconds of its arrival, instead of ten.
    """
    _check(topic, message)
    return Stream(topic, message, handler, start, prompt)


def every(seconds: float, handler: TimerHandler[S, V]) -> Timer[S, V]:
    """Run in a transaction of its own on every instance; lock what two instances must not do at once."""
    return Timer(seconds, handler)


def _check(topic: Topic, message: type[Message]) -> None:
    if message not in topic.carries:
        raise ValueError(f"{topic.name} does not carry {message.__name__}")


@dataclass(frozen=True)
class Service(Generic[S, V]):
    """The manifest. `committed` hears of each batch after its commit; `background` tasks live with the process.

    Of all instances one leads at a time and runs the `leader` tasks. The others run the `standby` tasks and read the
    streams that it `follows`, to their end when they are to lead. Tasks are cancelled one after the other, as listed;
    what the leader's say while they end is out before another leads. One that is cancelled without
    `runtime.lead.leads()` has lost the lead and says nothing more.
    """

    name: str
    store: type[S]
    memory: type[V]
    consumes: Sequence[Subscription[S, V]] = ()
    streams: Sequence[Stream[V]] = ()
    timers: Sequence[Timer[S, V]] = ()
    produces: Sequence[Topic] = ()
    routes: "Callable[[Runtime[S, V]], APIRouter] | None" = None
    entrance: "Callable[[Runtime[S, V], ASGIApp], ASGIApp] | None" = None
    """What every request passes on its way to the routes, and every answer of theirs on its way out."""
    sockets: "Callable[[Runtime[S, V]], websocket.Open] | None" = None
    """Who holds the conversations of WebSocket clients."""
    background: "Sequence[Callable[[Runtime[S, V]], Awaitable[None]]]" = ()
    leader: "Sequence[Callable[[Runtime[S, V]], Awaitable[None]]]" = ()
    standby: "Sequence[Callable[[Runtime[S, V]], Awaitable[None]]]" = ()
    follows: Sequence[Stream[V]] = ()
    committed: "Callable[[Sequence[Delivery], Runtime[S, V]], Awaitable[None]] | None" = None
    topics: dict[type[Message], Topic] = field(init=False, repr=False, compare=False)
    subscriptions: dict[type[Message], Subscription[S, V]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_type = {message: topic for topic in self.produces for message in topic.carries}
        object.__setattr__(self, "topics", by_type)
        object.__setattr__(self, "subscriptions", {each.message: each for each in self.consumes})
        if (self.leader or self.standby or self.follows) and not self.consumes:
            raise ValueError(f"{self.name} consumes nothing, so nobody holds the partition that its leader would hold")

    def subscription(self, message: type[Message]) -> Subscription[S, V]:
        try:
            return self.subscriptions[message]
        except KeyError:
            raise LookupError(f"{self.name} does not consume {message.__name__}") from None

    def topic_of(self, message: type[Message]) -> Topic:
        try:
            return self.topics[message]
        except KeyError:
            raise LookupError(f"{self.name} does not declare that it produces {message.__name__}") from None
