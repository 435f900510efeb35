"""The gateway's tables. The only package in the service that speaks SQL."""

from libs.common.service import Connection, Store
from services.gateway.store.books import OrderBook
from services.gateway.store.changes import Changes
from services.gateway.store.entities import Entities
from services.gateway.store.instruments import Instruments
from services.gateway.store.outcomes import Outcomes
from services.gateway.store.portfolio import Portfolio
from services.gateway.store.risk import RiskLog
from services.gateway.store.signals import SignalLog


class GatewayStore(Store):
    """The projections within one transaction. Every part collects what it was told and writes it by the batch.

    Counters go first: their rows, locked in order of the user, are what makes a user's changes follow one another
    on whichever instances they are projected.
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

    async def flush(self) -> None:
        connection = self.connection
        await self.risk.address(connection)
        await self.changes.number(connection)
        await self.orders.flush(connection)
        await self.portfolio.flush(connection)
        await self.signals.flush(connection)
        await self.risk.flush(connection)
        await self.entities.flush(connection)
        await self.outcomes.flush(connection)
        await self.instruments.flush(connection)
