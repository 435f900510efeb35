"""One order against risk's rules, in a market where everything else is in order."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from libs.common import ids
from libs.common.contracts.enums import Product, RiskLevel
from libs.common.contracts.ids import RiskLimitId, UserId
from libs.common.contracts.orders import OrderRequested
from services.risk.domain.ledger import Account, Exposure, Ledger
from services.risk.domain.limits import OrderLimit
from services.risk.domain.rules import Denial, OrderCheck, denial
from services.risk.settings import RiskSettings
from tests.services.risk.scene import ACCOUNT, NOW, SBIN, USER, market

MARKET = market()


STRANGER = UserId(ids.new_id())


RICH = Account(ACCOUNT, USER, active=True, opening_balance=Decimal(100_000))


def limit(**terms: Any) -> OrderLimit:
    facts: dict[str, Any] = {"level": RiskLevel.USER, **terms}
    return OrderLimit(RiskLimitId(ids.new_id()), USER, **facts)


def held(quantity: int, **more: Any) -> Exposure:
    return Exposure(ACCOUNT, None, SBIN, Product.MIS, USER, quantity=quantity, **more)


def check(request: OrderRequested, **facts: Any) -> OrderCheck:
    instrument = MARKET.instrument(request.instrument)
    net = facts.pop("net", replace(held(0), instrument=request.instrument, product=request.product))
    ledger = Ledger(facts.pop("account", RICH), net, facts.pop("book", None))
    known: dict[str, Any] = {
        "halts": (),
        "limits": (),
        "instrument": instrument,
        "price": MARKET.price(request.instrument),
        "spot": MARKET.price(instrument.spot) if instrument else None,
        "now": NOW,
        "open_positions": {},
        **facts,
    }
    return OrderCheck(
        order=request, expires_at=request.expires_at, ledger=ledger, policy=RiskSettings().policy, **known
    )


def refused(request: OrderRequested, **facts: Any) -> Denial:
    found = denial(check(request, **facts))
    assert found is not None
    return found
