"""Which alerts become signals, and why the others do not."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Exchange, Side, SignalType
from libs.common.contracts.ids import SignalId
from libs.common.ids import new_id
from services.signals.domain import fates
from services.signals.domain.alerts import Alert
from services.signals.domain.fates import Accepted, Duplicate, Fate, Outcome, Receiver, Refusal
from tests.services.signals.making import NOW, TODAY, a_group


def decide(
    receiver: Receiver,
    alert: Alert,
    *,
    market_open: bool = True,
    duplicate_of: SignalId | None = None,
    today: date = TODAY,
) -> Outcome:
    return fates.decide(
        receiver,
        alert,
        signal_id=SignalId(new_id()),
        duplicate_of=duplicate_of,
        market_open=market_open,
        at=NOW,
        today=today,
        day_ends=datetime(2026, 11, 24, 18, 30, tzinfo=UTC),
    )


ALERT = Alert(SignalType.ENTRY, Side.BUY, symbol="NIFTY")


def test_an_alert_that_passes_every_rule_becomes_a_signal() -> None:
    group = a_group()
    outcome = decide(Receiver(group, 1), ALERT)
    assert isinstance(outcome, Accepted)
    assert (outcome.signal.group_id, outcome.signal.user_id) == (group.group_id, group.user_id)
    assert (outcome.signal.signal_type, outcome.signal.action) == (SignalType.ENTRY, Side.BUY)


def fate_of(outcome: Outcome | None) -> Fate:
    assert isinstance(outcome, Refusal), outcome
    assert outcome.reason
    return outcome.fate


def test_a_group_that_is_switched_off_takes_nothing() -> None:
    assert fate_of(decide(Receiver(a_group(active=False), 1), ALERT)) is Fate.DISABLED


def test_the_expiry_date_is_the_last_day_that_counts() -> None:
    assert fates.admit(Receiver(a_group(expiry_date=TODAY), 1), TODAY) is None
    assert fate_of(fates.admit(Receiver(a_group(expiry_date=TODAY), 1), TODAY + timedelta(days=1))) is Fate.EXPIRED


def test_market_hours_are_kept_only_when_asked_for() -> None:
    assert fate_of(decide(Receiver(a_group(market_hours_only=True), 1), ALERT, market_open=False)) is Fate.MARKET_CLOSED
    assert isinstance(decide(Receiver(a_group(), 1), ALERT, market_open=False), Accepted)


def test_an_exit_is_not_refused_for_the_hour() -> None:
    """Seen: that of the last bar came a second after the close, and what it was to close stayed open overnight."""
    out = Alert(SignalType.EXIT, Side.SELL, symbol="NIFTY")
    assert isinstance(decide(Receiver(a_group(market_hours_only=True), 1), out, market_open=False), Accepted)


@pytest.mark.parametrize(
    ("symbol", "beside", "exchange"),
    [
        (None, None, Exchange.NFO),
        ("NIFTY", None, Exchange.NFO),
        ("NSE:SBIN", None, Exchange.NFO),
        ("mcx:GOLD1!", None, Exchange.MCX),
        ("GOLD1!", "MCX", Exchange.MCX),
        ("GOLD1!", "MCX_DLY", Exchange.MCX),
        ("MCX_DL:GOLD1!", None, Exchange.MCX),
        ("MCX", "NSE", Exchange.NFO),
        ("NSE:MCX", "MCX", Exchange.NFO),
        ("NSE:USDINR1!", None, Exchange.CDS),
        ("USDINR1!", "NSE", Exchange.CDS),
        ("gbpinr26novfut", None, Exchange.CDS),
        ("BCD:USDINR1!", None, Exchange.BCD),
    ],
)
def test_an_alert_keeps_the_hours_of_its_exchange(symbol: str | None, beside: str | None, exchange: Exchange) -> None:
    assert fates.exchange_of(replace(ALERT, symbol=symbol, exchange=beside)) is exchange


@given(limit=st.integers(1, 5), offered=st.integers(0, 12))
def test_never_more_than_the_days_limit_is_accepted(limit: int, offered: int) -> None:
    receiver = Receiver(a_group(max_signals_per_day=limit), 1, TODAY - timedelta(days=1), 99)
    accepted = 0
    for _ in range(offered):
        outcome = decide(receiver, ALERT)
        if isinstance(outcome, Accepted):
            accepted += 1
            receiver = receiver.counting(TODAY)
        else:
            assert fate_of(outcome) is Fate.DAILY_LIMIT
            assert isinstance(outcome, Refusal)
            assert outcome.retry_after_s == 12 * 3600
    assert accepted == min(limit, offered)


def test_an_exit_counts_with_the_days_alerts_and_is_not_refused_for_their_number() -> None:
    """Seen: after the last alert of the day the position that it had opened could not be closed by one."""
    receiver = Receiver(a_group(max_signals_per_day=2), 1, TODAY, 1)
    out = Alert(SignalType.EXIT, Side.SELL, symbol="NIFTY")
    assert isinstance(decide(receiver, out), Accepted)
    full = receiver.counting(TODAY)
    assert fate_of(decide(full, ALERT)) is Fate.DAILY_LIMIT
    assert isinstance(decide(full, out), Accepted)


@given(limit=st.integers(1, 3), days=st.lists(st.sampled_from([TODAY - timedelta(days=1), TODAY]), max_size=12))
def test_alerts_that_wait_over_midnight_do_not_bring_the_day_before_again(limit: int, days: list[date]) -> None:
    """Of two instances the one whose clock is behind still counts yesterday when the other has begun today."""
    receiver = Receiver(a_group(max_signals_per_day=limit), 1, TODAY, 0)
    accepted = 0
    for day in days:
        if isinstance(decide(receiver, ALERT, today=day), Accepted):
            accepted += 1
            receiver = receiver.counting(day)
    assert accepted == min(limit, len(days))


def test_a_clock_that_ran_ahead_makes_no_days_limit_of_all_days() -> None:
    """Seen: one alert, taken while the clock was wrong by years, and from then on the alerts of all days counted as one
    day's, until each entry heard 429.
    """
    receiver = Receiver(a_group(max_signals_per_day=2), 1).counting(TODAY + timedelta(days=3650))
    for day in (TODAY, TODAY + timedelta(days=1)):
        for accepted in (0, 1):
            assert receiver.accepted_on(day) == accepted
            assert isinstance(decide(receiver, ALERT, today=day), Accepted)
            receiver = receiver.counting(day)
        assert fate_of(decide(receiver, ALERT, today=day)) is Fate.DAILY_LIMIT


def test_a_repetition_is_told_which_signal_it_repeats() -> None:
    original = SignalId(new_id())
    assert decide(Receiver(a_group(), 1), ALERT, duplicate_of=original) == Duplicate(original)


def test_a_held_up_alert_is_stale_only_when_a_limit_is_set() -> None:
    alert = replace(ALERT, sent_at=NOW - timedelta(minutes=6))
    assert fates.check_age(alert, NOW, 0) is None
    assert fates.check_age(ALERT, NOW, 300) is None
    assert fate_of(fates.check_age(alert, NOW, 300)) is Fate.STALE
