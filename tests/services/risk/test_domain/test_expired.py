"""What an account holds that nobody trades any more: a contract that expired unsettled, or a share that is gone."""

from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.enums import BreachKind, Product, RiskLevel
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.risk.domain.watches import Watch
from services.risk.memory import RiskMemory
from tests.services.risk.scene import CALL, CONTRACTS, FUTURE, INFY, TODAY, listed
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


@pytest.mark.parametrize("level", [RiskLevel.ACCOUNT, RiskLevel.USER])
def test_what_is_settled_on_a_later_day_is_no_loss_of_that_day(level: RiskLevel) -> None:
    """Its price came late, or the stack was down at the close: the rest was squared off for what it lost in weeks."""
    memory = holding(watch(BreachKind.DAILY_LOSS, 500, level))
    pass_time(memory, DAY_S)
    assert price(memory, 800.0) == []
    settled = {"instrument": FUTURE, "product": Product.NRML, "pnl_day": TODAY + timedelta(days=1)}
    memory.hold([held(10, 24000, realised_pnl=Decimal(-25_000), version=2, **settled)])
    assert price(memory, 800.0) == [], "one strategy's part of it"
    memory.hold([held(0, 0, realised_pnl=Decimal(-35_000), version=3, **settled)])
    assert price(memory, 751.0) == []
    assert len(price(memory, 750.0)) == 1


@pytest.mark.parametrize("kind", [BreachKind.STOP_LOSS, BreachKind.TRAILING_STOP, BreachKind.DAILY_LOSS])
def test_a_share_that_is_gone_holds_up_no_limit_on_the_rest(kind: BreachKind) -> None:
    """It was renamed, say: a process that was started since then knew no price of it, and fired no limit, ever."""
    memory = watching(watch(kind, 500))
    memory.hold([held(10, 800), held(10, 1500, instrument=INFY)])
    memory.know([listed(INFY)])
    assert price(memory, 800.0) == []
    assert price(memory, 740.0) == [], "its price may come yet"
    memory.know([listed(INFY, tradable=False, delisted=True)])
    assert price(memory, 800.0) == []
    assert [each.kind for each in price(memory, 750.0)] == [kind]


def test_a_share_that_is_gone_counts_at_its_last_price_while_that_is_known() -> None:
    """A dump may lack it for a morning."""
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.know([listed(INFY, tradable=False, delisted=True)])
    memory.hold([held(10, 800), held(10, 1500, instrument=INFY)])
    price(memory, 1510.0, INFY)
    assert price(memory, 745.0) == []
    assert len(price(memory, 740.0)) == 1


def test_a_share_that_is_listed_again_is_waited_for() -> None:
    memory = watching(watch(BreachKind.STOP_LOSS, 500))
    memory.know([listed(INFY, tradable=False, delisted=True)])
    memory.hold([held(10, 800), held(10, 1500, instrument=INFY)])
    assert price(memory, 760.0) == []
    memory.know([listed(INFY)])
    assert price(memory, 740.0) == []
    assert len(price(memory, 1500.0, INFY)) == 1


def test_no_price_is_kept_of_a_contract_that_is_gone_but_of_what_is_held() -> None:
    """One of each contract that there ever was stayed in memory."""
    memory = holding(watch(BreachKind.STOP_LOSS, 500, RiskLevel.ACCOUNT), last=24_000.0)
    price(memory, 100.0, CALL)
    for each in (FUTURE, CALL):
        memory.know([listed(each).model_copy(update={"tradable": False, "delisted": True})])
        assert memory.price(each) is None
    assert price(memory, 800.0) == []
    assert [each.kind for each in price(memory, 750.0)] == [BreachKind.STOP_LOSS]
