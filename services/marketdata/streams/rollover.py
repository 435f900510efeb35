"""Says when another expiry becomes the current or the next one."""

from datetime import date
from typing import TYPE_CHECKING

from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.masters import ExpiryRolled
from libs.common.telemetry import log
from services.marketdata.domain.expiries import roles

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore


async def roll_expiries(runtime: "Runtime[ContractStore, MarketMemory]", day: date) -> None:
    """Compare today's current and next expiries with those told last. A series seen for the first time is no news."""
    async with runtime.transaction() as unit:
        told = await unit.store.expiry_roles()
        today = {series: roles(listed, day) for series, listed in (await unit.store.expiries()).items()}
        events = [
            ExpiryRolled(
                exchange=Exchange(exchange),
                underlying=underlying,
                kind=InstrumentKind(kind),
                role=role,
                day=day,
                before=before.get(role),
                after=after,
            )
            for (exchange, underlying, kind), own in today.items()
            if (before := told.get((exchange, underlying, kind)))
            for role, after in own.items()
            if before.get(role) != after
        ]
        await unit.store.save_roles(today)
        unit.say(*events)
    if events:
        log.info("expiries_rolled", day=day, rolled=len(events))
