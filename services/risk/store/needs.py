"""What a batch of messages will ask of the store, collected before the first question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.common.contracts.accounts import AccountDeleted, AccountSaved
from libs.common.contracts.base import Message
from libs.common.contracts.enums import Product
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, RiskLimitId, StrategyId, UserId
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCleared,
    OrderDenied,
    OrderExpired,
    OrderFact,
    OrderModified,
    OrderModifyCleared,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderRejected,
    OrderReopened,
    OrderRequested,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.contracts.risk import (
    RiskLimitDeleted,
    RiskLimitDeleteRequested,
    RiskLimitSaved,
    RiskLimitSaveRequested,
)
from services.risk.domain.halts import scopes_of
from services.risk.domain.ledger import Reservation

ExposureKey = tuple[AccountId, StrategyId | None, InstrumentId, Product]


@dataclass(slots=True)
class Needs:
    accounts: set[AccountId] = field(default_factory=set)
    told_of: set[AccountId] = field(default_factory=set)
    orders: set[OrderId] = field(default_factory=set)
    exposures: set[ExposureKey] = field(default_factory=set)
    users: set[UserId] = field(default_factory=set)
    scopes: set[str] = field(default_factory=set)
    limits: set[RiskLimitId] = field(default_factory=set)
    wishes: list[OrderRequested | OrderCleared] = field(default_factory=list)
    changes: set[OrderId] = field(default_factory=set)
    flat: set[UserId] = field(default_factory=set)
    """Whose position or book a fill closed."""
    moved: set[tuple[AccountId, InstrumentId]] = field(default_factory=set)
    """What trading told a change of."""

    def position(
        self, account_id: AccountId, strategy_id: StrategyId | None, instrument: InstrumentId, product: Product
    ) -> None:
        if without_nul(instrument) != instrument:
            return
        self.exposures.add((account_id, None, instrument, product))
        if strategy_id is not None:
            self.exposures.add((account_id, strategy_id, instrument, product))

    def found(self, order: Reservation) -> None:
        """A stored order brings its position along; one that is to be changed, also its rules."""
        self.position(order.account_id, order.strategy_id, order.instrument, order.product)
        if order.order_id in self.changes:
            self.decision(order.user_id, order.account_id, order.strategy_id)

    def decision(self, user_id: UserId, account_id: AccountId, strategy_id: StrategyId | None) -> None:
        self.users.add(user_id)
        self.scopes.update(scopes_of(user_id, account_id, strategy_id))


def without_nul(instrument: InstrumentId) -> InstrumentId:
    """PostgreSQL takes no NUL in text; a name with one is nobody's, and must not fail the batch that denies it."""
    return InstrumentId(instrument.replace("\0", ""))


def needs_of(messages: Sequence[Message]) -> Needs:
    needs = Needs()
    for message in messages:
        add = _ADD.get(type(message))
        if add is not None:
            add(needs, message)
    return needs


def _order(needs: Needs, message: OrderRequested | OrderCleared) -> None:
    _position(needs, message)
    needs.decision(message.user_id, message.account_id, message.strategy_id)
    needs.wishes.append(message)


def _position(needs: Needs, message: OrderRequested | OrderCleared | PositionChanged) -> None:
    _known_order(needs, message)
    needs.position(message.account_id, message.strategy_id, message.instrument, message.product)


def _moved(needs: Needs, message: PositionChanged) -> None:
    _position(needs, message)
    needs.told_of.add(message.account_id)
    needs.moved.add((message.account_id, message.instrument))
    if not (message.net.quantity and message.book.quantity):
        needs.flat.add(message.user_id)


def _change(needs: Needs, message: OrderModifyRequested) -> None:
    _known_order(needs, message)
    needs.changes.add(message.order_id)


def _cleared(needs: Needs, message: OrderCleared) -> None:
    """Told again, by a rebuild."""
    _order(needs, message)
    needs.told_of.add(message.account_id)


def _known_order(
    needs: Needs,
    message: OrderRequested | OrderCleared | PositionChanged | OrderModifyRequested | OrderModifyCleared | OrderFact,
) -> None:
    needs.accounts.add(message.account_id)
    needs.orders.add(message.order_id)


def _account(needs: Needs, message: FundsChanged | AccountSaved | AccountDeleted) -> None:
    needs.accounts.add(message.account_id)
    needs.told_of.add(message.account_id)


def _limit(needs: Needs, message: RiskLimitSaveRequested | RiskLimitDeleteRequested) -> None:
    needs.limits.add(message.limit_id)


_ADD: dict[type[Message], Callable[[Needs, Any], None]] = {
    OrderRequested: _order,
    OrderModifyRequested: _change,
    PositionChanged: _moved,
    FundsChanged: _account,
    AccountSaved: _account,
    AccountDeleted: _account,
    OrderModified: _known_order,
    OrderModifyRefused: _known_order,
    OrderDenied: _known_order,
    OrderRejected: _known_order,
    OrderCancelled: _known_order,
    OrderExpired: _known_order,
    OrderReopened: _known_order,
    RiskLimitSaveRequested: _limit,
    RiskLimitSaved: _limit,
    RiskLimitDeleted: _limit,
    OrderCleared: _cleared,
    OrderModifyCleared: _known_order,
    RiskLimitDeleteRequested: _limit,
}
"""By type, not by `match`: pydantic's isinstance is slow, and every message passes here."""
