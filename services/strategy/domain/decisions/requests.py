"""The orders and square-offs that an algo asks for."""

from collections.abc import Sequence

from libs.common.contracts.algos import LinkedAccount
from libs.common.contracts.enums import OrderPurpose, OrderType, Side, SquareOffReason
from libs.common.contracts.ids import OrderId, SquareOffId, StrategyId
from libs.common.contracts.orders import OrderRequested, SquareOffRequested
from libs.common.ids import derive
from services.strategy.domain import holdings, legs
from services.strategy.domain.chain import Contract
from services.strategy.domain.decisions.decision import Answer, Situation
from services.strategy.domain.holdings import Holding
from services.strategy.domain.legs import Impossible


def may_trade(answer: Answer, linked: LinkedAccount, situation: Situation) -> bool:
    if answer.algo.user_id in situation.idle_users:
        answer.skip("the user may not trade: nothing new is opened for him")
        return False
    account = situation.accounts.get(linked.account_id)
    if account is None or account.user_id != answer.algo.user_id:
        answer.skip(f"account {linked.account_id} is unknown")
        return False
    if not account.active:
        answer.skip(f"account {account.name} is inactive")
    return account.active


def enter(
    answer: Answer,
    holding: Holding,
    linked: LinkedAccount,
    contracts: Sequence[Contract],
    action: Side,
    situation: Situation,
) -> None:
    algo, now = answer.algo, situation.market.now
    planned = legs.plan(algo, contracts, linked, action)
    if isinstance(planned, Impossible):
        answer.skip(planned.reason)
        return
    of = () if answer.stock is None else (answer.stock,)
    orders = [
        OrderRequested(
            order_id=OrderId(derive(answer.signal_id, "entry", algo.algo_id, linked.account_id, order.leg, *of)),
            account_id=linked.account_id,
            user_id=algo.user_id,
            strategy_id=StrategyId(algo.algo_id),
            instrument=order.instrument,
            side=order.side,
            quantity=order.quantity,
            order_type=OrderType.MARKET,
            product=algo.product,
            purpose=OrderPurpose.ENTRY,
            requested_at=now,
            expires_at=now + situation.patience.order_ttl,
        )
        for order in planned
    ]
    answer.requests.extend(orders)
    quantities = {order.order_id: order.quantity for order in orders}
    answer.holdings.append(holdings.entering(holding, quantities, legs.direction_on(algo, action), now))


def square_off_request(
    holding: Holding, square_off_id: SquareOffId, reason: SquareOffReason = SquareOffReason.SIGNAL_EXIT
) -> SquareOffRequested:
    return SquareOffRequested(
        square_off_id=square_off_id,
        account_id=holding.account_id,
        user_id=holding.user_id,
        strategy_id=StrategyId(holding.algo_id),
        instrument=holding.stock,
        reason=reason,
    )
