"""Committed positions and limits into memory, so that the watch over MTM sees them at once."""

from collections.abc import Sequence

from libs.common.contracts.base import Delivery
from libs.common.contracts.ids import StrategyId
from libs.common.contracts.portfolio import PositionChanged, PositionState
from libs.common.contracts.risk import RiskLimitDeleteRequested, RiskLimitSaveRequested
from libs.common.runtime import Runtime
from services.risk.domain.instruments import trading_day
from services.risk.domain.ledger import Exposure, is_as_carried
from services.risk.domain.money import ZERO
from services.risk.memory import RiskMemory
from services.risk.store import RiskStore


async def committed(deliveries: Sequence[Delivery], runtime: Runtime[RiskStore, RiskMemory]) -> None:
    limits = []
    for delivery in deliveries:
        match delivery.message:
            case PositionChanged():
                runtime.memory.hear(positions_of(delivery))
            case RiskLimitSaveRequested(limit_id=limit_id) | RiskLimitDeleteRequested(limit_id=limit_id):
                limits.append(limit_id)
            case _:
                pass
    if limits:
        async with runtime.pool.acquire(timeout=2) as connection:
            runtime.memory.rewatch(await RiskStore(connection).watches.of(limits))


def positions_of(delivery: Delivery) -> Sequence[Exposure]:
    """The net position, and the strategy's book when a strategy made the fill."""
    changed = delivery.message
    if not isinstance(changed, PositionChanged):
        return ()
    day = trading_day(delivery.envelope.time)

    def position(strategy_id: StrategyId | None, state: PositionState) -> Exposure:
        is_carried = is_as_carried(state, bool(changed.fill_quantity))
        return Exposure(
            changed.account_id,
            strategy_id,
            changed.instrument,
            changed.product,
            changed.user_id,
            quantity=state.quantity,
            average_price=state.average_price,
            realised_pnl=state.realised_pnl,
            pnl_day=day,
            version=changed.version,
            carried_quantity=state.quantity if is_carried else 0,
            carried_average=state.average_price if is_carried else ZERO,
        )

    net = position(None, changed.net)
    return (net,) if changed.strategy_id is None else (net, position(changed.strategy_id, changed.book))
