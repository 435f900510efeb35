"""Names of things. All are UUIDv7 but the instrument, whose name is `EXCHANGE:SYMBOL`."""

from typing import NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
AccountId = NewType("AccountId", UUID)
OrderId = NewType("OrderId", UUID)
FillId = NewType("FillId", UUID)
AlgoId = NewType("AlgoId", UUID)
StrategyId = NewType("StrategyId", UUID)
"""Whatever books orders and positions as its own; an algo's id is its strategy id."""
SignalGroupId = NewType("SignalGroupId", UUID)
SignalId = NewType("SignalId", UUID)
RiskLimitId = NewType("RiskLimitId", UUID)
SquareOffId = NewType("SquareOffId", UUID)
PanicId = NewType("PanicId", UUID)
CallId = NewType("CallId", UUID)
"""A wish to a broker: the id of the message that brought it."""
SettlementId = NewType("SettlementId", UUID)
"""The message that told what an expired contract was worth."""
CorrelationId = NewType("CorrelationId", UUID)
"""The id of the message that began a story; every message of the story carries it."""
InstrumentId = NewType("InstrumentId", str)
"""`NSE:SBIN`, `NFO:NIFTY29DEC2624000CE`, `NSE_INDEX:NIFTY`: exchange, colon, OpenAlgo symbol."""
