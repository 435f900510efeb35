"""MIS ends before its market closes: when, for what, and what passes all the same."""

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Broker, DenialRule, Exchange, InstrumentKind, OrderPurpose, Product, Side
from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import IST, MarketSession
from services.risk.domain import intraday
from services.risk.domain.ledger import Exposure
from services.risk.domain.rules import denial
from services.risk.memory import RiskMemory
from tests.services.risk.hours import at, with_hours
from tests.services.risk.scene import CALL, FUTURE, INFY, SBIN, TODAY, listed, market, order
from tests.services.risk.test_domain.checking import RICH, check, held, refused

PAPER = replace(RICH, broker=Broker.PAPER)
TEN = timedelta(minutes=10)
GOLD = InstrumentId("MCX:GOLD05DEC26FUT")
DOLLAR = InstrumentId("CDS:USDINR27NOV26FUT")
UNTIL = at(15, 20)


def hours_of(instrument: InstrumentId, memory: RiskMemory) -> str | None:
    known = memory.instrument(instrument)
    assert known is not None
    until = memory.intraday_until(known, at(12))
    return None if until is None else f"{until.astimezone(IST):%H:%M}"


def full_market() -> RiskMemory:
    memory = market()
    memory.know(listed(each, InstrumentKind.FUTURE, expiry=date(2026, 12, 5)) for each in (GOLD, DOLLAR))
    memory.know([listed(InstrumentId("NFO:INFY24NOV26FUT"), InstrumentKind.FUTURE, expiry=TODAY, spot=INFY)])
    return memory


@pytest.mark.parametrize(
    ("instrument", "until"),
    [(SBIN, "15:20"), (INFY, "15:05"), (FUTURE, "15:30"), (CALL, "15:30"), (DOLLAR, "16:50"), (GOLD, "23:45")],
    ids=["share", "share with derivatives", "future", "option", "currency", "commodity in winter"],
)
def test_mis_ends_ten_minutes_before_the_close_of_its_own_market(instrument: InstrumentId, until: str) -> None:
    assert hours_of(instrument, with_hours(full_market())) == until


def test_a_currency_contract_ends_ten_minutes_before_half_past_noon_on_its_last_day() -> None:
    """It was squared off at 16:50, when nobody had traded it for four hours."""
    memory = with_hours(market())
    memory.know([listed(DOLLAR, InstrumentKind.FUTURE, expiry=TODAY)])
    assert hours_of(DOLLAR, memory) == "12:20"
    position = replace(held(10, pnl_day=TODAY), instrument=DOLLAR)
    assert [memory.due(position, at(12, minute)) is not None for minute in (19, 21, 31)] == [False, True, False]
    assert memory.open_markets(at(12, 21))[Exchange.CDS]


def test_a_share_that_lost_its_derivatives_ends_as_the_others_do() -> None:
    memory = with_hours(full_market())
    gone = listed(InstrumentId("NFO:INFY24NOV26FUT"), InstrumentKind.FUTURE, expiry=TODAY, spot=INFY)
    memory.know([gone.model_copy(update={"tradable": False, "delisted": True})])
    assert hours_of(INFY, memory) == "15:20"


def test_a_special_session_ends_by_its_own_hours() -> None:
    muhurat = ((time(18), time(19)),)
    assert hours_of(SBIN, with_hours(market(), muhurat)) == "18:50"
    two_parts = ((time(9, 15), time(10)), (time(11, 45), time(12, 40)))
    assert hours_of(SBIN, with_hours(market(), two_parts)) == "12:30"


def test_a_simulated_market_that_never_closes_ends_nothing() -> None:
    memory = full_market()
    assert {hours_of(each, memory) for each in (SBIN, INFY, CALL, GOLD)} == {None}
    assert memory.open_markets(at(23, 59)) == {}
    assert memory.due(held(10, pnl_day=None), at(15, 25)) is None


def test_what_was_delisted_while_it_was_held_is_not_asked_for_until_it_is_listed_again() -> None:
    """Nobody can trade it: each of its square-offs left it after some minutes, and risk asked for the next one."""
    memory = with_hours(market())
    memory.know([listed(SBIN, InstrumentKind.EQUITY).model_copy(update={"tradable": False, "delisted": True})])
    assert memory.due(held(10), at(15, 25)) is None
    memory.know([listed(SBIN, InstrumentKind.EQUITY)])
    assert memory.due(held(10), at(15, 25)) is not None


def test_on_a_day_without_a_session_nothing_ends() -> None:
    memory = with_hours(market())
    sunday = at(15, 25) - timedelta(days=2)
    known = memory.instrument(SBIN)
    assert known is not None
    assert memory.intraday_until(known, sunday) is None
    assert memory.due(held(10), sunday) is None


def test_from_the_cutoff_on_what_opens_is_denied_and_hears_until_when_it_could() -> None:
    late = order(expires_at=at(16))
    assert denial(check(late, account=PAPER, intraday_until=UNTIL, now=at(15, 19, 59))) is None
    found = refused(late, account=PAPER, intraday_until=UNTIL, now=at(15, 21, 7))
    assert (found.rule, found.limit, found.value) == (DenialRule.INTRADAY_CUTOFF, "15:20", "15:21:07")
    assert found.reason == "MIS of NSE:SBIN is squared off from 15:20 Indian time on: only exits pass"
    assert refused(late, account=PAPER, intraday_until=UNTIL, now=UNTIL).rule is DenialRule.INTRADAY_CUTOFF


@pytest.mark.parametrize(
    "facts",
    [
        {"net": held(10)},
        {"net": held(10, pending_buy=5)},
        {"net": held(10), "book": held(10)},
    ],
    ids=["position", "with an entry pending", "of a strategy"],
)
@pytest.mark.parametrize("purpose", [OrderPurpose.EXIT, OrderPurpose.ENTRY])
def test_what_only_reduces_passes(facts: dict[str, Any], purpose: OrderPurpose) -> None:
    closing = order(side=Side.SELL, purpose=purpose, expires_at=at(16))
    assert denial(check(closing, account=PAPER, intraday_until=UNTIL, now=at(15, 25), **facts)) is None


def test_what_adds_or_turns_a_position_round_does_not() -> None:
    facts: dict[str, Any] = {"account": PAPER, "intraday_until": UNTIL, "now": at(15, 25)}
    for side, quantity in ((Side.BUY, 1), (Side.SELL, 11)):
        wish = order(side=side, quantity=quantity, expires_at=at(16))
        assert refused(wish, net=held(10), **facts).rule is DenialRule.INTRADAY_CUTOFF
    exits = order(side=Side.SELL, expires_at=at(16))
    assert refused(exits, net=held(10, pending_sell=10), **facts).rule is DenialRule.INTRADAY_CUTOFF


def test_delivery_and_brokers_accounts_are_no_concern_of_ours() -> None:
    facts: dict[str, Any] = {"intraday_until": UNTIL, "now": at(15, 25)}
    assert denial(check(order(product=Product.CNC, expires_at=at(16)), account=PAPER, **facts)) is None
    for broker in (Broker.ZERODHA, None):
        assert denial(check(order(expires_at=at(16)), account=replace(RICH, broker=broker), **facts)) is None


def test_a_square_off_passes() -> None:
    exits = order(purpose=OrderPurpose.SQUARE_OFF, side=Side.SELL)
    assert denial(check(exits, account=PAPER, net=held(10), intraday_until=UNTIL, now=at(15, 25))) is None


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (at(9), False),
        (at(9, 15), False),
        (at(15, 19, 59), False),
        (at(15, 20), True),
        (at(15, 29, 59), True),
        (at(15, 30), False),
        (at(20), False),
    ],
)
def test_what_was_opened_today_is_squared_off_from_the_cutoff_until_the_close(now: datetime, due: bool) -> None:
    memory = with_hours(market())
    for exposure in (held(10, pnl_day=TODAY), held(-10, pnl_day=TODAY), held(0, pnl_day=TODAY, pending_buy=1)):
        assert (memory.due(exposure, now) is not None) is due
    assert memory.due(held(0, pnl_day=TODAY), now) is None


@pytest.mark.parametrize(("now", "due"), [(at(9, 14), False), (at(9, 15), True), (at(12), True), (at(15, 30), False)])
def test_what_was_carried_overnight_is_squared_off_from_the_opening_on(now: datetime, due: bool) -> None:
    """Nobody was there at the end of its day: the stack was down."""
    memory = with_hours(market())
    yesterday = TODAY - timedelta(days=1)
    for exposure in (
        held(10, pnl_day=yesterday),
        held(10, pnl_day=None),
        held(10, pnl_day=TODAY, carried_quantity=10),
        held(4, pnl_day=TODAY, carried_quantity=10),
    ):
        assert (memory.due(exposure, now) is not None) is due


def test_what_was_turned_round_today_was_opened_today() -> None:
    memory = with_hours(market())
    assert memory.due(held(-10, pnl_day=TODAY, carried_quantity=10), at(12)) is None
    assert memory.due(held(0, pnl_day=TODAY, carried_quantity=10, pending_sell=5), at(12)) is None


def test_what_has_expired_is_left_to_its_settlement() -> None:
    """A square-off would leave it and be over, and be asked for again, for ever."""
    memory = with_hours(market())
    gone = listed(CALL, InstrumentKind.OPTION, lot_size=75, expiry=TODAY - timedelta(days=1))
    call = replace(held(75, pnl_day=None), instrument=CALL)
    assert memory.due(call, at(15, 35)) is not None
    memory.know([gone])
    assert memory.due(call, at(15, 35)) is None


def test_a_share_with_derivatives_is_pursued_into_its_closing_auction() -> None:
    memory = with_hours(full_market())
    infy = replace(held(10, pnl_day=TODAY), instrument=INFY)
    assert [memory.due(infy, at(15, minute)) is not None for minute in (4, 5, 14, 16, 34, 35)] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]


def test_what_is_carried_by_right_is_left() -> None:
    memory = with_hours(market())
    for product in (Product.CNC, Product.NRML):
        assert memory.due(replace(held(10), product=product), at(15, 25)) is None


def test_an_exchange_is_looked_at_from_the_first_cutoff_of_its_instruments_until_the_last_close() -> None:
    memory = with_hours(market())

    def ending(hour: int, minute: int) -> set[Exchange]:
        return {exchange for exchange, comes in memory.open_markets(at(hour, minute)).items() if comes}

    equity = {Exchange.NSE, Exchange.BSE}
    assert ending(15, 4) == set()
    assert equity <= ending(15, 5)
    assert equity <= ending(15, 25)
    assert equity <= ending(15, 34), "the closing auction"
    assert ending(15, 36) == {Exchange.NFO, Exchange.BFO}
    assert ending(23, 50) == {Exchange.MCX}
    assert set(memory.open_markets(at(9, 5))) == {Exchange.CDS, Exchange.BCD, Exchange.MCX}
    assert memory.open_markets(at(23, 55)) == {}
    assert memory.open_markets(at(12) - timedelta(days=2)) == {}


MINUTES = st.integers(0, 24 * 60 - 1)


@given(
    opens=MINUTES,
    length=st.integers(1, 900),
    before=st.integers(0, 900),
    auction=st.integers(0, 30),
    now=MINUTES,
    quantity=st.integers(-5, 5),
    carried=st.integers(-5, 5),
    pending=st.integers(0, 2),
)
def test_whatever_the_hours_nobody_carries_mis_out_of_a_session_and_nothing_is_asked_of_a_closed_market(
    opens: int, length: int, before: int, auction: int, now: int, quantity: int, carried: int, pending: int
) -> None:
    start = at(0)
    close = start + timedelta(minutes=opens + length)
    closing = (close, close + timedelta(minutes=auction)) if auction else None
    session = MarketSession(start + timedelta(minutes=opens), close, closing_auction=closing)
    moment = start + timedelta(minutes=now)
    notice = timedelta(minutes=before)
    exposure: Exposure = held(quantity, pnl_day=TODAY, carried_quantity=carried, pending_buy=pending)
    known = market().instrument(SBIN)
    assert known is not None
    due = intraday.is_due(exposure, known, session, notice, moment, TODAY)
    until = intraday.cutoff(session, notice)
    assert session.open <= until <= session.close
    if due:
        assert session.open <= moment < session.end
        assert exposure.in_use
        assert moment >= until or quantity * carried > 0
    elif exposure.in_use and until <= moment < session.end:
        raise AssertionError("what is open from the cutoff on is squared off")
    opening = check(order(expires_at=start + timedelta(days=2)), account=PAPER, intraday_until=until, now=moment)
    said = denial(opening)
    is_denied = said is not None and said.rule is DenialRule.INTRADAY_CUTOFF
    assert is_denied == (moment >= until), "nothing is opened while what is open is closed"
