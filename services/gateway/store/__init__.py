"""The gateway's tables. The only package in the service that speaks SQL."""

from libs.common.database import Connection
from libs.common.service import Store
from services.gateway.store.books import CHANGED, CHANGED_ORDERS, NO_CHANGED_ORDER, OrderBook
from services.gateway.store.broker_positions import BrokerPositions
from services.gateway.store.changes import CHANNELS, Changes
from services.gateway.store.entities import Entities
from services.gateway.store.instruments import Instruments
from services.gateway.store.outcomes import Outcomes
from services.gateway.store.portfolio import Portfolio
from services.gateway.store.risk import RiskLog
from services.gateway.store.signals import SignalLog
from services.gateway.store.statement import Statement

_COUNTERS = f"SELECT user_id, {', '.join(CHANNELS)} FROM counters"  # noqa: S608 - names of our own
_WITH_CHANGED = f"""
    SELECT user_id, {", ".join(CHANNELS)}, {NO_CHANGED_ORDER} FROM counters
    UNION ALL
    SELECT NULL, {", ".join("NULL::bigint" for _ in CHANNELS)}, {CHANGED_ORDERS} FROM {CHANGED}
"""  # noqa: S608 - names of our own


class GatewayStore(Store):
    """The projections within one transaction. Every part collects what it was told and writes it by the batch;
    counters, orders, fills, positions and funds together in one statement.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.changes = Changes()
        self.orders = OrderBook(self.changes)
        self.portfolio = Portfolio(self.changes)
        self.signals = SignalLog(self.changes)
        self.risk = RiskLog(self.changes)
        self.entities = Entities()
        self.outcomes = Outcomes(self.changes)
        self.instruments = Instruments()
        self.broker_positions = BrokerPositions()

    async def flush(self) -> None:
        connection = self.connection
        await self.risk.address(connection)
        if self.changes.pushes:
            await self._write_books(connection)
        await self.signals.flush(connection)
        await self.risk.flush(connection)
        await self.entities.flush(connection)
        await self.outcomes.flush(connection)
        await self.instruments.flush(connection)
        await self.broker_positions.flush(connection)

    async def _write_books(self, connection: Connection) -> None:
        statement = Statement()
        self.changes.count(statement)
        self.orders.write(statement)
        self.portfolio.write(statement)
        rows = await statement.fetch(connection, _WITH_CHANGED if self.orders.has_changed else _COUNTERS)
        self.changes.number([row for row in rows if row["user_id"]])
        self.orders.written([row for row in rows if not row["user_id"]])
