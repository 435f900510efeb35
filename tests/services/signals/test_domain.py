import json
import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import Exchange, Side, SignalSource, SignalType
from libs.common.contracts.ids import SignalGroupId, SignalId, UserId
from libs.common.contracts.signals import (
    SignalGroup,
    SignalGroupDeleted,
    SignalGroupDeleteRequested,
    SignalGroupSaved,
    SignalGroupSaveRequested,
)
from libs.common.ids import new_id
from services.signals.domain import alerts, fates, groups, payloads, rate
from services.signals.domain.alerts import Alert, Invalid
from services.signals.domain.fates import Accepted, Duplicate, Fate, Outcome, Receiver, Refusal

NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
TODAY = date(2026, 11, 24)
TEMPLATES = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "webhooks"


def a_group(**changes: object) -> SignalGroup:
    group = SignalGroup(
        group_id=SignalGroupId(new_id()), user_id=UserId(new_id()), name="EMA", source=SignalSource.TRADINGVIEW
    )
    return group.model_copy(update=changes)


def read(text: str) -> Alert | Invalid:
    payload = payloads.decode(text.encode())
    assert isinstance(payload, dict), payload
    return alerts.read(payload)


def understood(text: str) -> Alert:
    alert = read(text)
    assert isinstance(alert, Alert), alert
    return alert


def misunderstood(text: str) -> Invalid:
    alert = read(text)
    assert isinstance(alert, Invalid), alert
    return alert


def test_the_documented_payload_is_understood_whole() -> None:
    account_id = new_id()
    alert = understood(
        json.dumps(
            {
                "strategy_id": str(new_id()),
                "signal_type": "entry",
                "symbol": "NIFTY",
                "action": "buy",
                "quantity": 100,
                "price": "market",
                "trigger_price": 18500,
                "account_id": str(account_id),
                "timestamp": "2024-01-01T10:30:00Z",
                "alert_name": "EMA_Crossover_Long_Entry",
            }
        )
    )
    assert alert == Alert(
        signal_type=SignalType.ENTRY,
        action=Side.BUY,
        symbol="NIFTY",
        quantity=100,
        price=None,
        account_id=account_id,  # type: ignore[arg-type]
        alert_name="EMA_Crossover_Long_Entry",
        sent_at=datetime(2024, 1, 1, 10, 30, tzinfo=UTC),
    )


def test_numbers_may_be_text_and_names_may_be_in_any_case() -> None:
    alert = understood('{"Ticker": "NSE:SBIN", "ACTION": " Buy ", "quantity": "75", "Price": "420.69"}')
    assert (alert.symbol, alert.action, alert.quantity) == ("NSE:SBIN", Side.BUY, 75)
    assert alert.price == Decimal("420.69")


def test_a_price_with_a_point_is_exact() -> None:
    assert understood('{"action": "buy", "price": 0.1}').price == Decimal("0.1")


@pytest.mark.parametrize(
    ("text", "signal_type", "action"),
    [
        ('{"action": "buy"}', SignalType.ENTRY, Side.BUY),
        ('{"action": "sell", "sentiment": "flat"}', SignalType.EXIT, Side.SELL),
        ('{"action": "buy", "market_position": "flat"}', SignalType.EXIT, Side.BUY),
        ('{"action": "sell", "position_size": 0}', SignalType.EXIT, Side.SELL),
        ('{"action": "exit"}', SignalType.EXIT, Side.SELL),
        ('{"action": "exit", "prev_market_position": "short"}', SignalType.EXIT, Side.BUY),
        ('{"action": "Close Long"}', SignalType.EXIT, Side.SELL),
        ('{"direction": "long"}', SignalType.ENTRY, Side.BUY),
        ('{"signal_type": "entry", "action": "sell", "sentiment": "long"}', SignalType.ENTRY, Side.SELL),
        ('{"signal_type": "EXIT"}', SignalType.EXIT, Side.SELL),
        ('{"signal_type": "", "action": "buy"}', SignalType.ENTRY, Side.BUY),
        ('{"signal_type": "entry", "action": "buy", "sentiment": "flat"}', SignalType.ENTRY, Side.BUY),
    ],
)
def test_entry_and_exit_are_told_apart_without_a_signal_type(text: str, signal_type: SignalType, action: Side) -> None:
    alert = understood(text)
    assert (alert.signal_type, alert.action) == (signal_type, action)


def test_a_reversal_is_one_entry_alert_the_other_way() -> None:
    alert = understood('{"action": "sell", "quantity": 2, "market_position": "short", "prev_market_position": "long"}')
    assert (alert.signal_type, alert.action, alert.quantity) == (SignalType.ENTRY, Side.SELL, 2)


def test_a_partial_exit_is_not_mistaken_for_an_entry() -> None:
    invalid = misunderstood('{"action": "sell", "market_position": "long"}')
    assert invalid.field == "market_position"
    assert "part of it" in invalid.problem


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{}", "action"),
        ('{"action": "hold"}', "action"),
        ('{"action": 1}', "action"),
        ('{"action": "{{strategy.order.action}}"}', "action"),
        ('{"action": "buy", "sentiment": "{{strategy.market_position}}"}', "sentiment"),
        ('{"action": "buy", "signal_type": "maybe"}', "signal_type"),
        ('{"action": "exit", "signal_type": "entry"}', "action"),
        ('{"action": "buy", "quantity": "many"}', "quantity"),
        ('{"action": "buy", "quantity": 1.5}', "quantity"),
        ('{"action": "buy", "quantity": 0}', "quantity"),
        ('{"action": "buy", "quantity": -5}', "quantity"),
        ('{"action": "buy", "quantity": 1e400}', "quantity"),
        ('{"action": "buy", "quantity": 1e9999999}', "quantity"),
        ('{"action": "buy", "price": "-1e9999999"}', "price"),
        ('{"action": "buy", "quantity": true}', "quantity"),
        ('{"action": "buy", "price": "cheap"}', "price"),
        ('{"action": "buy", "price": -1}', "price"),
        ('{"action": "buy", "trigger_price": []}', "trigger_price"),
        ('{"action": "buy", "account_id": "mine"}', "account_id"),
        ('{"action": "buy", "account_id": 7}', "account_id"),
        ('{"action": "buy", "timestamp": "yesterday"}', "timestamp"),
        ('{"action": "buy", "timestamp": 1e300}', "timestamp"),
        ('{"action": "buy", "symbol": "\\u0000"}', "symbol"),
        ('{"action": "buy", "symbol": "\\ud800"}', "symbol"),
        ('{"action": "buy", "alert_name": {"a": 1}}', "alert_name"),
    ],
)
def test_what_is_not_understood_is_named(text: str, field: str) -> None:
    assert misunderstood(text).field == field


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-24T06:30:00Z", NOW),
        ("2026-11-24 12:00:00+05:30", NOW),
        ("2026-11-24 06:30:00", NOW),
        (1795501800, NOW),
        ("1795501800000", NOW),
    ],
)
def test_times_are_read_as_iso_or_unix(written: object, meant: datetime) -> None:
    assert understood(json.dumps({"action": "buy", "timenow": written})).sent_at == meant


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda v: st.lists(v, max_size=3))
)
def test_whatever_a_field_holds_it_is_read_or_named(value: object) -> None:
    names = ["action", "quantity", "price", "symbol", "account_id", "timestamp", "alert_id", "sentiment", "data"]
    for name in names:
        payload = payloads.decode(json.dumps({"action": "buy", name: value}).encode())
        if isinstance(payload, dict):
            assert isinstance(alerts.read(payload), Alert | Invalid)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_payload_or_malformed_and_can_be_kept(body: bytes) -> None:
    payload = payloads.decode(body)
    payloads.fingerprint(body, payload)
    assert "\x00" not in payloads.safe_copy(body, ("secret",), 100)
    if isinstance(payload, dict):
        assert isinstance(alerts.read(payload), Alert | Invalid)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"buy NIFTY", "not JSON"),
        (b'{"price": }', "not JSON"),
        (b'{"price": NaN}', "not JSON"),
        (b"[1, 2]", "not an object"),
        (b'"buy"', "not an object"),
        (b"\xff\xfe{", "not UTF-8"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"price": 1e99999999999999999999}', "not JSON"),
        (b'{"price": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_not_a_json_object_says_why(body: bytes, problem: str) -> None:
    payload = payloads.decode(body)
    assert isinstance(payload, payloads.Malformed)
    assert problem in payload.problem


def test_a_byte_order_mark_does_not_matter() -> None:
    assert payloads.decode(b'\xef\xbb\xbf{"action": "buy"}') == {"action": "buy"}


def test_the_fingerprint_ignores_spacing_and_order() -> None:
    one, other = b'{"action":"buy","price":1}', b'{ "price": 1, "action": "buy" }'
    assert payloads.fingerprint(one, payloads.decode(one)) == payloads.fingerprint(other, payloads.decode(other))


def test_secrets_are_not_kept() -> None:
    body = (
        b'{"action": "buy", "token": "s3cr3t", "key": "s3cr3t", "deep": [{"api-key": "s3cr3t"}], "note": "is s3cr3t"}'
    )
    kept = payloads.safe_copy(body, ("s3cr3t",), 1000)
    assert "s3cr3t" not in kept
    assert json.loads(kept)["action"] == "buy"


@pytest.mark.parametrize(
    "body", [b'{"token": "s3cr3t", "price": }', b'{"my_secret" : s3cr3t, "x": }', b'{"token": "s3cr3t']
)
def test_secrets_are_not_kept_of_malformed_bodies_either(body: bytes) -> None:
    assert "s3cr3t" not in payloads.safe_copy(body, (), 1000)


RENDERED = {
    "{{ticker}}": "NIFTY1!",
    "{{close}}": "24010.5",
    "{{timenow}}": "2026-11-24T06:30:00Z",
    "{{interval}}": "5",
    "{{strategy.order.action}}": "sell",
    "{{strategy.order.contracts}}": "2",
    "{{strategy.order.price}}": "24010.5",
    "{{strategy.market_position}}": "short",
    "{{strategy.position_size}}": "-1",
    "{{strategy.prev_market_position}}": "long",
    "{{strategy.prev_market_position_size}}": "1",
    "{{SEC_KEY}}": "s3cr3t",
}


@pytest.mark.parametrize(
    ("template", "signal_type", "action"),
    [
        ("001-needs-render", SignalType.ENTRY, Side.SELL),
        ("002-valid-json", SignalType.ENTRY, Side.BUY),
        ("003-valid-json", SignalType.ENTRY, Side.BUY),
        ("004-valid-json", SignalType.ENTRY, Side.SELL),
        ("005-valid-json", SignalType.ENTRY, Side.BUY),
        ("006-valid-json", SignalType.EXIT, Side.SELL),
        ("007-valid-json", SignalType.EXIT, Side.SELL),
        ("008-valid-json", SignalType.ENTRY, Side.SELL),
        ("009-valid-json", SignalType.EXIT, Side.BUY),
        ("012-needs-render", SignalType.ENTRY, Side.SELL),
        ("021-valid-json", SignalType.ENTRY, Side.SELL),
    ],
)
def test_the_templates_that_people_use_are_understood(template: str, signal_type: SignalType, action: Side) -> None:
    if not TEMPLATES.is_dir():
        pytest.skip(f"no recorded templates in {TEMPLATES}; set SHARED_DATA")
    text = (TEMPLATES / f"{template}.txt").read_text()
    for placeholder, value in RENDERED.items():
        text = text.replace(placeholder, value)
    alert = understood(text)
    assert (alert.signal_type, alert.action) == (signal_type, action)


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
    assert fates.admit(a_group(expiry_date=TODAY), TODAY) is None
    assert fate_of(fates.admit(a_group(expiry_date=TODAY), TODAY + timedelta(days=1))) is Fate.EXPIRED


def test_market_hours_are_kept_only_when_asked_for() -> None:
    assert fate_of(decide(Receiver(a_group(market_hours_only=True), 1), ALERT, market_open=False)) is Fate.MARKET_CLOSED
    assert isinstance(decide(Receiver(a_group(), 1), ALERT, market_open=False), Accepted)


@pytest.mark.parametrize(
    ("symbol", "exchange"),
    [(None, Exchange.NFO), ("NIFTY", Exchange.NFO), ("NSE:SBIN", Exchange.NFO), ("mcx:GOLD1!", Exchange.MCX)],
)
def test_a_symbol_keeps_the_hours_of_its_exchange(symbol: str | None, exchange: Exchange) -> None:
    assert fates.exchange_of(symbol) is exchange


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


def test_a_repetition_is_told_which_signal_it_repeats() -> None:
    original = SignalId(new_id())
    assert decide(Receiver(a_group(), 1), ALERT, duplicate_of=original) == Duplicate(original)


def test_a_held_up_alert_is_stale_only_when_a_limit_is_set() -> None:
    alert = replace(ALERT, sent_at=NOW - timedelta(minutes=6))
    assert fates.check_age(alert, NOW, 0) is None
    assert fates.check_age(ALERT, NOW, 300) is None
    assert fate_of(fates.check_age(alert, NOW, 300)) is Fate.STALE


@given(per_minute=st.integers(1, 600), gaps=st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_passes_more_than_a_burst_and_what_is_earned(per_minute: int, gaps: list[float]) -> None:
    bucket, now, taken = None, 0.0, 0
    for gap in gaps:
        now += gap
        bucket, wait = rate.take(bucket, per_minute, now)
        taken += wait == 0
        if wait:
            assert rate.take(bucket, per_minute, now + wait + 0.001)[1] == 0
    assert taken <= per_minute + now * per_minute / 60 + 1e-6


def save(group: SignalGroup, version: int = 0) -> SignalGroupSaveRequested:
    return SignalGroupSaveRequested(
        group_id=group.group_id, user_id=group.user_id, group=group, expected_version=version
    )


def code_of(event: object) -> str:
    assert isinstance(event, RequestRefused)
    return event.code


def test_saving_counts_versions() -> None:
    group = a_group()
    event = groups.decide_save(None, save(group))
    assert event == SignalGroupSaved(group_id=group.group_id, user_id=group.user_id, group=group, version=1)
    assert isinstance(event, SignalGroupSaved)
    receiver = groups.evolve(None, event)
    assert groups.decide_save(receiver, save(group, 1)) == event.model_copy(update={"version": 2})


def test_a_stale_version_is_refused_and_told_the_current_one() -> None:
    group = a_group()
    refused = groups.decide_save(Receiver(group, 3), save(group, 2))
    assert code_of(refused) == "conflict"
    assert isinstance(refused, RequestRefused)
    assert refused.reason == "expected version 2, found version 3"
    assert refused.entity_id == str(group.group_id)


def test_somebody_elses_group_is_not_found() -> None:
    group = a_group()
    stranger = group.model_copy(update={"user_id": UserId(new_id())})
    assert code_of(groups.decide_save(Receiver(group, 1), save(stranger, 1))) == "not_found"
    delete = SignalGroupDeleteRequested(group_id=group.group_id, user_id=stranger.user_id)
    assert code_of(groups.decide_delete(Receiver(group, 1), delete)) == "not_found"
    assert code_of(groups.decide_delete(None, delete)) == "not_found"
    own = delete.model_copy(update={"user_id": group.user_id})
    assert isinstance(groups.decide_delete(Receiver(group, 1), own), SignalGroupDeleted)


def test_a_version_of_nothing_is_not_found() -> None:
    assert code_of(groups.decide_save(None, save(a_group(), 1))) == "not_found"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"max_signals_per_day": 0},
        {"max_per_minute": 0},
        {"duplicate_window_s": -1},
        {"duplicate_window_s": 86_401},
        {"rotation": -1},
        {"signature_required": True},
    ],
)
def test_a_group_that_could_not_work_is_refused(changes: dict[str, object]) -> None:
    assert code_of(groups.decide_save(None, save(a_group(**changes)))) == "invalid"


def test_a_group_is_saved_under_its_own_ids() -> None:
    group = a_group()
    request = save(group).model_copy(update={"group_id": SignalGroupId(new_id())})
    assert code_of(groups.decide_save(None, request)) == "invalid"


def test_a_change_of_the_group_keeps_what_was_counted_today() -> None:
    receiver = Receiver(a_group(), 1, TODAY, 7)
    event = SignalGroupSaved(
        group_id=receiver.group.group_id, user_id=receiver.group.user_id, group=receiver.group, version=2
    )
    assert groups.evolve(receiver, event).accepted_on(TODAY) == 7
