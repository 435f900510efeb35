"""What an alert says: understood, or the field named that is not."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Side, SignalType
from libs.common.ids import new_id
from services.signals.domain import alerts, payloads
from services.signals.domain.alerts import Alert, Invalid
from tests.services.signals.making import NOW
from tests.services.signals.test_domain.reading import misunderstood, understood


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


@pytest.mark.parametrize(
    ("body", "stocks"),
    [
        ('{"stocks": "SEPOWER, ASTEC,M&M,,SEPOWER,"}', ("SEPOWER", "ASTEC", "M&M")),
        ('{"stocks": ["NSE:SBIN", " INFY "]}', ("NSE:SBIN", "INFY")),
        ('{"stocks": 500112}', ("500112",)),
        ('{"stocks": ""}', ()),
        ('{"stocks": "{{stocks}}"}', ()),
        ('{"stocks": null}', ()),
        ("{}", ()),
    ],
)
def test_a_scan_names_stocks_each_once(body: str, stocks: tuple[str, ...]) -> None:
    assert understood('{"action": "buy", ' + body[1:] if body != "{}" else '{"action": "buy"}').stocks == stocks


@pytest.mark.parametrize("stocks", ['{"a": 1}', '[["SBIN"]]', "true", '["SBIN", 1.5]'])
def test_stocks_that_are_no_names_are_misunderstood(stocks: str) -> None:
    assert misunderstood(f'{{"action": "buy", "stocks": {stocks}}}').field == "stocks"


def test_a_price_with_a_point_is_exact() -> None:
    assert understood('{"action": "buy", "price": 0.1}').price == Decimal("0.1")


def test_the_price_of_a_spread_may_be_below_0() -> None:
    """Seen: of who trades two futures by their difference no exit was taken once that had changed its sign."""
    alert = understood('{"action": "sell", "sentiment": "flat", "price": "-12.35", "trigger_price": -1}')
    assert (alert.signal_type, alert.price) == (SignalType.EXIT, Decimal("-12.35"))


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
        ('{"action": "sell", "position_size": "1"}', "position_size"),
        ('{"action": "buy", "strategy.position_size": -0.5}', "strategy_position_size"),
    ],
)
def test_a_partial_exit_is_known_by_the_sign_of_the_position_that_it_leaves(text: str, field: str) -> None:
    """Seen: it was taken for an entry, and an algo that reverses sold all and went short."""
    invalid = misunderstood(text)
    assert invalid.field == field
    assert "part of it" in invalid.problem


@pytest.mark.parametrize(
    "text",
    [
        '{"action": "sell", "position_size": -1}',
        '{"action": "sell", "market_position_size": 1}',
        '{"action": "sell", "market_position": "short", "position_size": 1}',
        '{"action": "sell", "signal_type": "entry", "position_size": 1}',
        '{"action": "sell", "position_size": "{{strategy.position_size}}"}',
    ],
)
def test_an_entry_is_none_the_less_one_for_the_size_that_it_tells(text: str) -> None:
    alert = understood(text)
    assert (alert.signal_type, alert.action) == (SignalType.ENTRY, Side.SELL)


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


@pytest.mark.parametrize("field", ["quantity", "price"])
def test_a_number_without_end_is_named_in_few_words(field: str) -> None:
    """Seen: the whole of it stood in the answer and in the log, which keeps the first 4,096 characters of a body."""
    invalid = misunderstood(f'{{"action": "buy", "{field}": -1.{"1" * 60_000}}}')
    assert invalid.field == field
    assert len(invalid.problem) < 100
    assert misunderstood(f'{{"action": "buy", "{field}": 1.{"0" * 60_000}}}').field == field


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
