"""The alert templates that people use, as they were recorded."""

import os
from pathlib import Path

import pytest

from libs.common.contracts.enums import Side, SignalType
from services.signals.domain import alerts, payloads
from services.signals.domain.alerts import Alert
from tests.services.signals.test_domain.reading import understood

TEMPLATES = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "webhooks"

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


def test_what_chartink_sends_is_understood_by_what_its_url_says() -> None:
    """Seen: nobody can put an action into its body, and every alert of it was refused."""
    if not TEMPLATES.is_dir():
        pytest.skip(f"no recorded templates in {TEMPLATES}; set SHARED_DATA")
    body = payloads.decode((TEMPLATES / "022-valid-json.txt").read_bytes())
    assert isinstance(body, dict)
    whole = alerts.with_url(body, {"action": "sell", "signal_type": "exit"})
    assert isinstance(whole, dict)
    alert = alerts.read(whole)
    assert isinstance(alert, Alert)
    assert (alert.signal_type, alert.action) == (SignalType.EXIT, Side.SELL)
