"""What became of an arrival, and the rules of a group that decide it."""

import math
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from libs.common.contracts.enums import Exchange, Side, SignalType
from libs.common.contracts.ids import AccountId, SignalGroupId, SignalId, UserId
from libs.common.contracts.signals import SignalGroup, SignalReceived
from services.signals.domain.alerts import Alert

SENT_AGAIN_SECONDS = 60
"""Senders repeat at once or within seconds, TradingView within fifteen; later the same words are another alert."""
_OWN_HOURS = {exchange.value: exchange for exchange in (Exchange.MCX, Exchange.CDS, Exchange.BCD)}
_CURRENCIES = ("USDINR", "EURINR", "GBPINR", "JPYINR", "EURUSD", "GBPUSD", "USDJPY")


class Fate(StrEnum):
    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    UNAUTHORIZED = "UNAUTHORIZED"
    MAY_NOT_TRADE = "MAY_NOT_TRADE"
    DISABLED = "DISABLED"
    EXPIRED = "EXPIRED"
    RATE_LIMITED = "RATE_LIMITED"
    OVERSIZED = "OVERSIZED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    MALFORMED = "MALFORMED"
    INVALID = "INVALID"
    STALE = "STALE"
    MARKET_CLOSED = "MARKET_CLOSED"
    DAILY_LIMIT = "DAILY_LIMIT"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The alert is not passed on. `field` is what could not be understood, `retry_after_s` when to come again."""

    fate: Fate
    reason: str
    field: str | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An alert like it was accepted as `signal_id` within the group's window."""

    signal_id: SignalId


@dataclass(frozen=True, slots=True)
class Accepted:
    signal: SignalReceived


@dataclass(frozen=True, slots=True)
class Receiver:
    """A group with its version and how many alerts it accepted on the day it last did. `may_trade`: its user may."""

    group: SignalGroup
    version: int
    counted_on: date | None = None
    counted: int = 0
    may_trade: bool = True

    def accepted_on(self, day: date) -> int:
        return self.counted if self.counted_on == self._counting_on(day) else 0

    def counting(self, day: date) -> "Receiver":
        return replace(self, counted_on=self._counting_on(day), counted=self.accepted_on(day) + 1)

    def _counting_on(self, day: date) -> date:
        """Once a day has begun nothing brings the one before again: an alert that waited over midnight, or came to an
        instance whose clock is behind, counts with those of the day that began. What is further ahead was counted by a
        wrong clock.
        """
        begun = self.counted_on
        return begun if begun is not None and day <= begun <= day + timedelta(days=1) else day


@dataclass(frozen=True, slots=True)
class Arrival:
    """One line of the log: what came for a known group, and what became of it."""

    group_id: SignalGroupId
    user_id: UserId
    received_at: datetime
    source_ip: str
    content_hash: bytes
    alert_id: str | None
    payload: str
    fate: Fate
    reason: str
    signal_id: SignalId | None
    processing_ms: float
    signal_type: SignalType | None = None
    action: Side | None = None
    account_id: AccountId | None = None
    about: bytes | None = None


@dataclass(frozen=True, slots=True)
class Flood:
    """So many refusals of one kind that they are not logged one by one; `first` is the first that was not."""

    first: Arrival
    until: datetime
    count: int = 1

    def going_on(self, since: "Flood") -> "Flood":
        """This one, which was not logged, with what came after it."""
        return replace(self, until=since.until, count=self.count + since.count)

    def told(self) -> Arrival:
        """All of them in one line, as of the last."""
        since = f"{self.first.received_at:%H:%M:%S}"
        reason = f"{self.first.reason} ({self.count} such since {since} UTC, in one line)"
        return replace(self.first, received_at=self.until, reason=reason)


Outcome = Accepted | Duplicate | Refusal


def told(outcome: Outcome) -> tuple[Fate, str, SignalId | None]:
    """An outcome as the log tells it: the fate, why, and the signal that it is about."""
    match outcome:
        case Accepted(signal):
            return Fate.ACCEPTED, "", signal.signal_id
        case Duplicate(original):
            return Fate.DUPLICATE, "an alert like it was accepted within the group's window", original
        case Refusal(fate, reason):
            return fate, reason, None


def exchange_of(alert: Alert) -> Exchange:
    """Whose hours an alert keeps: those of the exchange before its symbol or beside it where they differ, else those of
    equity derivatives, the longest. TradingView's `{{ticker}}` has no exchange, and its delayed ones end with `_DL`;
    currencies it lists under NSE.
    """
    prefix, colon, rest = (alert.symbol or "").partition(":")
    named, ticker = (prefix, rest) if colon else (alert.exchange or "", prefix)
    usual = Exchange.CDS if ticker.upper().startswith(_CURRENCIES) else Exchange.NFO
    return _OWN_HOURS.get(named.upper().partition("_DL")[0], usual)


def admit(receiver: Receiver, today: date) -> Refusal | None:
    """May this group take alerts at all?"""
    group = receiver.group
    if not receiver.may_trade:
        reason = "the user whose webhook this is may not trade; it takes alerts again when an admin lets him"
        return Refusal(Fate.MAY_NOT_TRADE, reason)
    if not group.active:
        return Refusal(Fate.DISABLED, "the signal group is switched off")
    if group.expiry_date is not None and today > group.expiry_date:
        return Refusal(Fate.EXPIRED, f"the signal group took alerts until {group.expiry_date}")
    return None


def check_age(alert: Alert, at: datetime, stale_after_s: int) -> Refusal | None:
    """An alert that was held up on its way may no longer mean what it meant."""
    if not stale_after_s or alert.sent_at is None or at - alert.sent_at <= timedelta(seconds=stale_after_s):
        return None
    age = int((at - alert.sent_at).total_seconds())
    return Refusal(Fate.STALE, f"the alert is {age} s old; at most {stale_after_s} s are allowed")


def decide(
    receiver: Receiver,
    alert: Alert,
    *,
    signal_id: SignalId,
    duplicate_of: SignalId | None,
    market_open: bool,
    at: datetime,
    today: date,
    day_ends: datetime,
) -> Outcome:
    """The group's rules, in the order in which a person would want to hear of them. Exits count with the day's alerts
    but are never refused for their number or the hour, as of the last bar's, which comes once the market is closed: the
    position would stay open.
    """
    group = receiver.group
    refusal = admit(receiver, today)
    if refusal:
        return refusal
    if duplicate_of is not None:
        return Duplicate(duplicate_of)
    entering = alert.signal_type is not SignalType.EXIT
    if entering and group.market_hours_only and not market_open:
        return Refusal(Fate.MARKET_CLOSED, f"{exchange_of(alert)} is closed and the group keeps market hours")
    if entering and receiver.accepted_on(today) >= group.max_signals_per_day:
        reason = f"{group.max_signals_per_day} alerts were accepted today, the group's limit"
        return Refusal(Fate.DAILY_LIMIT, reason, retry_after_s=math.ceil((day_ends - at).total_seconds()))
    return Accepted(_signal(group, alert, signal_id, at))


def _signal(group: SignalGroup, alert: Alert, signal_id: SignalId, at: datetime) -> SignalReceived:
    return SignalReceived(
        signal_id=signal_id,
        group_id=group.group_id,
        user_id=group.user_id,
        signal_type=alert.signal_type,
        action=alert.action,
        symbol=alert.symbol,
        quantity=alert.quantity,
        price=alert.price,
        account_id=alert.account_id,
        alert_name=alert.alert_name,
        received_at=at,
        exchange=alert.exchange,
        stocks=alert.stocks,
    )
