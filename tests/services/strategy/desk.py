"""Signals and events in, orders and square-offs out, on a real store; the tests play trading."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from libs.common.contracts.algos import Algo, AlgoSaved, SignalSkipped
from libs.common.contracts.base import Message
from libs.common.contracts.enums import DenialRule, OrderStatus, Product, Side
from libs.common.contracts.ids import AccountId, AlgoId, InstrumentId, OrderId, StrategyId
from libs.common.contracts.orders import (
    OrderDenied,
    OrderRejected,
    OrderRequested,
    SquareOffCompleted,
    SquareOffRequested,
)
from libs.common.contracts.portfolio import PositionChanged, PositionState
from libs.common.database import Connection
from libs.common.ids import new_id
from libs.common.messaging.work import Work
from libs.common.testing import deliver
from libs.common.testing.delivery import envelope_of
from services.strategy import handlers, streams
from services.strategy.app import app
from services.strategy.memory import StrategyMemory
from tests.services.strategy.scene import NOW, USER, a_signal, quoted, save

SELL = Side.SELL


class Desk:
    """Delivers to strategy, and plays trading: what becomes of its orders."""

    def __init__(self, connection: Connection, memory: StrategyMemory) -> None:
        self.connection = connection
        self.memory = memory
        self.now = NOW
        self.books: dict[tuple[AccountId, StrategyId, InstrumentId], int] = {}

    async def hear(self, *messages: Message) -> list[Message]:
        return await deliver(app, self.connection, *messages, memory=self.memory, now=self.now)

    async def give_up(self, message: Message) -> list[Message]:
        """As it is where a person discards the message, which was parked."""
        return await deliver(app, self.connection, message, memory=self.memory, now=self.now, given_up=True)

    async def keep(self, *algos: Algo) -> None:
        said = await self.hear(*(save(algo) for algo in algos))
        assert all(isinstance(each, AlgoSaved) for each in said), said

    async def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        await streams.note_prices([quoted(24_012.0, self.now)], self.memory)

    @property
    def only_algo(self) -> AlgoId:
        """The one that has traded."""
        [strategy_id] = {key[1] for key in self.books}
        return AlgoId(strategy_id)

    def filled(self, order: OrderRequested, quantity: int | None = None) -> PositionChanged:
        assert order.strategy_id is not None
        key = (order.account_id, order.strategy_id, order.instrument)
        moved = quantity or order.quantity
        self.books[key] = self.books.get(key, 0) + order.side.sign * moved
        return a_change(*key, self.books[key], order.order_id, moved)

    def flattened(self, request: SquareOffRequested) -> list[Message]:
        """What trading says of a square-off: the books go to 0, then it is complete."""
        said: list[Message] = []
        for key, quantity in list(self.books.items()):
            is_covered = key[:2] == (request.account_id, request.strategy_id) and request.instrument in {None, key[2]}
            if is_covered and quantity:
                self.books[key] = 0
                said.append(a_change(*key, 0, OrderId(new_id()), abs(quantity)))
        return [*said, completed(request)]

    async def tick(self) -> Sequence[Message]:
        work = Work(app, self.memory, self.connection, self.now)
        said = await handlers.give_up_reversals(work.context(envelope_of(a_signal())))
        await work.store.write()
        return said

    async def asks_for_prices(self) -> Sequence[Message]:
        work = Work(app, self.memory, self.connection, self.now)
        return await handlers.request_prices(work.context(envelope_of(a_signal())))


def a_change(
    account_id: AccountId,
    strategy_id: StrategyId | None,
    instrument: InstrumentId,
    quantity: int,
    order_id: OrderId,
    filled: int,
) -> PositionChanged:
    state = PositionState(
        quantity=quantity,
        average_price=Decimal(100),
        realised_pnl=Decimal(0),
        bought_quantity=0,
        sold_quantity=0,
        bought_value=Decimal(0),
        sold_value=Decimal(0),
    )
    return PositionChanged(
        account_id=account_id,
        user_id=USER,
        instrument=instrument,
        product=Product.MIS,
        net=state,
        strategy_id=strategy_id,
        book=state,
        margin=Decimal(0),
        version=1,
        order_id=order_id,
        fill_quantity=filled,
    )


def completed(request: SquareOffRequested) -> SquareOffCompleted:
    return SquareOffCompleted.model_validate(request.model_dump())


def denied(order: OrderRequested) -> OrderDenied:
    return OrderDenied.model_validate({**order.model_dump(), "rule": DenialRule.MARGIN, "reason": "no margin"})


def rejected(order: OrderRequested) -> OrderRejected:
    return OrderRejected(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=USER,
        strategy_id=order.strategy_id,
        instrument=order.instrument,
        status=OrderStatus.REJECTED,
        version=2,
        reason="circuit",
    )


def orders_of(said: Sequence[Message]) -> list[OrderRequested]:
    return [each for each in said if isinstance(each, OrderRequested)]


def square_offs_of(said: Sequence[Message]) -> list[SquareOffRequested]:
    return [each for each in said if isinstance(each, SquareOffRequested)]


def reasons_of(said: Sequence[Message]) -> list[str]:
    return [each.reason for each in said if isinstance(each, SignalSkipped)]
