"""An alert as its text is read."""

from services.signals.domain import alerts, payloads
from services.signals.domain.alerts import Alert, Invalid


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
