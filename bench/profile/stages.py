"""Which stage of a message's road a sample belongs to. Pure: a stack in, a stage out.

Serialisers, identifiers, contracts and asyncio are nobody's stage: what they do counts for who called them. A stack is
read from its innermost frame outwards, and the first frame that a rule knows decides: SQL that a handler waits for is
the store's, the handler's own lines are the handler's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """In the order of the road."""

    HTTP = "HTTP and WebSocket"
    READING = "Kafka: taking records over"
    DECODING = "decoding messages"
    BATCH = "batch: pace, inbox, leases"
    HANDLERS = "handlers and domain"
    STORE = "store: asyncpg and SQL"
    ENCODING = "encoding messages"
    PRODUCING = "Kafka: outbox and producer"
    PRICES = "prices and other streams"
    METRICS = "metrics and logs"
    LOOP = "event loop and sockets"


@dataclass(frozen=True)
class Frame:
    """A function and the file that it is in, as py-spy shortens it: `libs/common/runtime.py`, `loop.c`."""

    function: str
    file: str


@dataclass(frozen=True)
class Rule:
    """Frames of files that the pattern matches from their beginning, and of these functions if any are named."""

    stage: Stage
    file: re.Pattern[str]
    functions: frozenset[str] = frozenset()

    def knows(self, frame: Frame) -> bool:
        if not self.file.match(frame.file):
            return False
        return not self.functions or frame.function.rpartition(".")[2] in self.functions


def rule(stage: Stage, file: str, *functions: str) -> Rule:
    return Rule(stage, re.compile(file), frozenset(functions))


RULES = (
    rule(Stage.METRICS, r"libs/common/telemetry|prometheus_client/|logging/|structlog/"),
    rule(Stage.DECODING, r"libs/common/messaging/envelope", "read_envelope", "decode", "type_of", "_headers"),
    rule(Stage.ENCODING, r"libs/common/messaging/envelope"),
    rule(Stage.DECODING, r"libs/common/messaging/inbound"),
    rule(Stage.READING, r"libs/common/messaging/reader"),
    rule(Stage.READING, r"libs/common/messaging/consumer", "_gather", "_read"),
    rule(Stage.PRODUCING, r"aiokafka/(producer/|partitioner)|libs/common/messaging/(outbox|partitioner)"),
    rule(Stage.PRODUCING, r"libs/common/runtime", "send"),
    rule(Stage.ENCODING, r"libs/common/messaging/work", "say"),
    rule(Stage.PRICES, r"libs/common/messaging/(streams|bulk)|aiokafka/consumer/|redis/|services/\w+/streams"),
    rule(Stage.STORE, r"libs/common/(writes|reads|database)|asyncpg/|services/\w+/store"),
    rule(Stage.HTTP, r"services/\w+/(api|memory/(hub|client|admission|siblings|watching))"),
    rule(Stage.HANDLERS, r"services/\w+/(handlers|domain|effects|projections|memory|timers)"),
    rule(Stage.BATCH, r"libs/common/messaging/"),
    rule(Stage.HTTP, r"uvicorn/|fastapi/|starlette/|httptools/|httpx/|httpcore/"),
    rule(Stage.HTTP, r"libs/common/(http|connections|websocket|problems|security)"),
)
NATIVE = (rule(Stage.STORE, r"protocol\.c$|asyncpg"), rule(Stage.HTTP, r"parser\.c$|httptools"))
"""Compiled code that the loop calls back when a socket has something."""
FALLBACK = (rule(Stage.PRODUCING, r"aiokafka/|asyncio/streams"), rule(Stage.HTTP, r"asyncio/sslproto"))
"""Reached when no caller told more: the producer's connection takes its answers in."""


def stage_of(stack: Sequence[Frame]) -> Stage:
    """The stage of a sample; its frames from the outermost to the innermost."""
    for rules in (RULES, NATIVE, FALLBACK):
        for frame in reversed(stack):
            found = next((each.stage for each in rules if each.knows(frame)), None)
            if found:
                return found
    return Stage.LOOP
