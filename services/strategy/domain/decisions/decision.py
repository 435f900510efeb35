"""What is known when an algo decides, and what a decision is."""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta

from libs.common.contracts.algos import Algo, SignalActedOn, SignalSkipped
from libs.common.contracts.base import Message
from libs.common.contracts.enums import SignalType
from libs.common.contracts.ids import AccountId, InstrumentId, SignalId, UserId
from libs.common.contracts.orders import OrderRequested, SquareOffRequested
from services.strategy.domain import holdings, stocks
from services.strategy.domain.algos import KnownAccount
from services.strategy.domain.holdings import Holding
from services.strategy.domain.legs import Market


@dataclass(frozen=True, slots=True)
class Patience:
    signal_max_age: timedelta
    order_ttl: timedelta
    reversal: timedelta


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at the moment of deciding."""

    market: Market
    accounts: Mapping[AccountId, KnownAccount]
    patience: Patience
    idle_users: AbstractSet[UserId] = frozenset()
    """Of the users concerned: they open nothing more, and can still close."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said, and the holdings that changed."""

    messages: tuple[Message, ...] = ()
    holdings: tuple[Holding, ...] = ()


def as_listed(held: Iterable[Holding], market: Market) -> list[Holding]:
    """What was left when nobody could trade it counts again once it is listed again."""

    def is_tradable(instrument: InstrumentId) -> bool:
        return market.chain.is_tradable(instrument, market.today)

    return [holdings.listed_again(holding, is_tradable) for holding in held]


class Answer:
    """Collects what one signal makes one algo do, account by account; with a `stock` what it does in that."""

    def __init__(
        self, algo: Algo, signal_id: SignalId, signal_type: SignalType, stock: InstrumentId | None = None
    ) -> None:
        self.algo = stocks.part(algo, stock)
        self.stock = stock
        self.signal_id = signal_id
        self.signal_type = signal_type
        self.requests: list[OrderRequested | SquareOffRequested] = []
        self.skipped: dict[tuple[SignalId, str], dict[InstrumentId, None]] = {}
        self.holdings: list[Holding] = []

    def skip(self, reason: str, signal_id: SignalId | None = None) -> None:
        of = self.skipped.setdefault((signal_id or self.signal_id, reason), {})
        if self.stock is not None:
            of[self.stock] = None

    def of(self, stock: InstrumentId) -> "Answer":
        """To be taken in once it is complete."""
        return Answer(self.algo, self.signal_id, self.signal_type, stock)

    def take(self, part: "Answer") -> None:
        self.requests.extend(part.requests)
        self.holdings.extend(part.holdings)
        for skipped, of in part.skipped.items():
            self.skipped.setdefault(skipped, {}).update(of)

    def decision(self) -> Decision:
        algo_id, user_id = self.algo.algo_id, self.algo.user_id
        said: list[Message] = list(self.requests)
        if self.requests:
            orders = tuple(str(each.order_id) for each in self.requests if isinstance(each, OrderRequested))
            square_offs = tuple(
                str(each.square_off_id) for each in self.requests if isinstance(each, SquareOffRequested)
            )
            said.append(
                SignalActedOn(
                    algo_id=algo_id,
                    user_id=user_id,
                    signal_id=self.signal_id,
                    signal_type=self.signal_type,
                    order_ids=orders,
                    square_off_ids=square_offs,
                )
            )
        said.extend(
            SignalSkipped(algo_id=algo_id, user_id=user_id, signal_id=signal_id, reason=_about(of, reason))
            for (signal_id, reason), of in self.skipped.items()
        )
        return Decision(tuple(said), tuple(self.holdings))


def _about(of: Collection[InstrumentId], reason: str) -> str:
    return f"{stocks.told(of, len(of))}: {reason}" if of else reason
