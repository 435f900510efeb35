"""The venues that trading can speak to."""

from collections.abc import Mapping

from libs.common.contracts import enums
from services.trading.adapters.called import CalledBroker
from services.trading.adapters.paper.translate import PaperBroker
from services.trading.domain.broker import Broker

BROKERS: Mapping[enums.Broker, Broker] = {
    enums.Broker.PAPER: PaperBroker(),
    enums.Broker.ZERODHA: CalledBroker(enums.Broker.ZERODHA),
}
