"""The rows that the checker reads, a module for each schema. Written down anew: no service's code is used."""

from tools.reconcile.rows.gateway import (
    Answer,
    Session,
    ShownAccount,
    ShownBook,
    ShownFills,
    ShownFunds,
    ShownOrder,
    ShownPanic,
    ShownPosition,
    ShownSquareOff,
    UserAccess,
)
from tools.reconcile.rows.messages import DiscardedRow, OffsetRow, OutboxRow, ParkedRow
from tools.reconcile.rows.risk import Reservation, RiskAccount, RiskExposure, RiskHalt
from tools.reconcile.rows.row import SERVICES, R, Row, columns
from tools.reconcile.rows.signals import AcceptedAlert, SignalsUser
from tools.reconcile.rows.strategy import StrategyAccount, StrategyAlgo, StrategyHolding, StrategyUser
from tools.reconcile.rows.trading import (
    BookedExecutions,
    BrokerCall,
    Panic,
    PanicEpoch,
    TradingAccount,
    TradingBook,
    TradingOrder,
    TradingPosition,
    TradingSquareOff,
)
from tools.reconcile.rows.walkforward import VenueOrder

__all__ = (
    "SERVICES",
    "AcceptedAlert",
    "Answer",
    "BookedExecutions",
    "BrokerCall",
    "DiscardedRow",
    "OffsetRow",
    "OutboxRow",
    "Panic",
    "PanicEpoch",
    "ParkedRow",
    "R",
    "Reservation",
    "RiskAccount",
    "RiskExposure",
    "RiskHalt",
    "Row",
    "Session",
    "ShownAccount",
    "ShownBook",
    "ShownFills",
    "ShownFunds",
    "ShownOrder",
    "ShownPanic",
    "ShownPosition",
    "ShownSquareOff",
    "SignalsUser",
    "StrategyAccount",
    "StrategyAlgo",
    "StrategyHolding",
    "StrategyUser",
    "TradingAccount",
    "TradingBook",
    "TradingOrder",
    "TradingPosition",
    "TradingSquareOff",
    "UserAccess",
    "VenueOrder",
    "columns",
)
