"""What an account still holds of a contract that has expired: it was not settled, or its broker does that."""

import pytest

from libs.common.contracts.enums import BreachKind, Product, RiskLevel
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.risk.domain.watches import Watch
from services.risk.memory import RiskMemory
from tests.services.risk.scene import CONTRACTS, FUTURE
from tests.services.risk.test_domain.watching import held, pass_time, price, watch, watching

DAY_S = 86_400


def holding(*watches: Watch, last: float | None = None) -> RiskMemory:
    """A share, and a future on its last day; the future's price, if it is known."""
    memory = watching(*watches)
    memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    memory.know(CONTRACTS)
    memory.hold([held(10, 800), held(35, 24000, instrument=FUTURE, product=Product.NRML)])
    price(memory, 800.0)
    if last is not None:
        price(memory, last, FUTURE)
    return memory


@pytest.mark.parametrize("kind", [BreachKind.STOP_LOSS, BreachKind.TRAILING_STOP, BreachKind.DAILY_LOSS])
@pytest.mark.parametrize("level", [RiskLevel.ACCOUNT, RiskLevel.USER])
def test_what_has_expired_holds_up_no_limit_on_the_rest(kind: BreachKind, level: RiskLevel) -> None:
    """Nobody quotes it any more: a process that was started since then fired no limit of its account, ever."""
    memory = holding(watch(kind, 500, level))
    pass_time(memory, DAY_S)
    assert price(memory, 800.0) == []
    assert [each.kind for each in price(memory, 750.0)] == [kind]


@pytest.mark.parametrize("last", [None, 23_000.0, 25_000.0])
def test_it_counts_the_same_whether_its_last_price_is_remembered_or_not(last: float | None) -> None:
    memory = holding(watch(BreachKind.STOP_LOSS, 500), watch(BreachKind.DAILY_LOSS, 500), last=last)
    pass_time(memory, DAY_S)
    assert price(memory, 751.0) == [], "of its own loss nobody can close anything"
    assert len(price(memory, 750.0)) == 2


def test_on_its_last_day_it_counts_at_its_price() -> None:
    memory = holding(watch(BreachKind.STOP_LOSS, 500))
    assert price(memory, 700.0) == [], "it has none"
    assert price(memory, 24_000.0, FUTURE) != []
