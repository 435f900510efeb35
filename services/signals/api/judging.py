"""An alert under its group's rules. One that counts and one that is only tried are judged here, both alike."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta

from libs.common.contracts.ids import SignalId
from libs.common.trading_calendar import IST
from services.signals.domain import alerts, fates, payloads
from services.signals.domain.alerts import Alert
from services.signals.domain.fates import Fate, Outcome, Receiver, Refusal
from services.signals.memory import SignalsMemory
from services.signals.settings import SignalsSettings
from services.signals.store import SignalsStore

Read = payloads.Payload | payloads.Malformed | Refusal
"""A body as it was read; a Refusal: it was not read to its end, or its URL says what it says, too."""


def said_in_url(action: str | None, signal_type: str | None) -> Mapping[str, str]:
    """What of an alert its URL says."""
    said = {"action": action, "signal_type": signal_type}
    return {name: value for name, value in said.items() if value}


def whole(read: Read, said: Mapping[str, str]) -> Read:
    """With what its URL says."""
    if not isinstance(read, dict):
        return read
    found = alerts.with_url(read, said)
    return _refusal(found) if isinstance(found, alerts.Invalid) else found


def understand(payload: Read, settings: SignalsSettings, at: datetime) -> Alert | Refusal:
    """The alert, or why it cannot be taken for one."""
    if isinstance(payload, Refusal):
        return payload
    if isinstance(payload, payloads.Malformed):
        return Refusal(Fate.MALFORMED, payload.problem)
    alert = alerts.read(payload)
    if isinstance(alert, alerts.Invalid):
        return _refusal(alert)
    return fates.check_age(alert, at, settings.stale_after_s) or alert


def _refusal(invalid: alerts.Invalid) -> Refusal:
    return Refusal(Fate.INVALID, f"{invalid.field}: {invalid.problem}", field=invalid.field)


async def judge(
    store: SignalsStore,
    memory: SignalsMemory,
    receiver: Receiver,
    alert: Alert,
    *,
    content_hash: bytes,
    signal_id: SignalId,
    unanswered: SignalId | None = None,
    at: datetime,
) -> Outcome:
    """What becomes of it, as the group and its log are now; keeps nothing. `unanswered`: the signal that one like it
    became, if it was taken, whose sender was asked to send it again.
    """
    today = at.astimezone(IST).date()
    duplicate_of = await store.alike(receiver.group, content_hash, alert, at)
    if duplicate_of is None and unanswered and await store.was_taken(receiver.group, content_hash, unanswered):
        duplicate_of = unanswered
    return fates.decide(
        receiver,
        alert,
        signal_id=signal_id,
        duplicate_of=duplicate_of,
        market_open=memory.calendar.is_open(fates.exchange_of(alert), at),
        at=at,
        today=today,
        day_ends=datetime.combine(today + timedelta(days=1), time.min, IST),
    )
