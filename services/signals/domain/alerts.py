"""What an alert says. Liberal where the meaning is clear; where it is not, the answer names the field.

Not said, so inferred: an alert without `signal_type` is an exit when its action says so (`exit`, `close_long`) or the
strategy is flat after it (`market_position`, `sentiment`, `direction`, or a `position_size` of 0), else an entry.
An exit that names no side counts as a sell, or as a buy when the position before it was short.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from libs.common.contracts.enums import Side, SignalType
from libs.common.contracts.ids import AccountId, SignalGroupId
from services.signals.domain.payloads import Payload

_GROUP = ("strategy_id", "group_id")
_ACTION = ("action", "side", "order_action", "strategy_order_action", "data")
_POSITION = ("market_position", "sentiment", "direction", "strategy_market_position")
_PREVIOUS = ("prev_market_position", "strategy_prev_market_position")
_SIGNED_SIZE = ("position_size", "strategy_position_size")
_SIZE = (*_SIGNED_SIZE, "market_position_size")
_SYMBOL = ("symbol", "ticker")
_EXCHANGE = ("exchange",)
_STOCKS = ("stocks",)
_QUANTITY = ("quantity", "qty", "contracts", "strategy_order_contracts")
_PRICE = ("price", "strategy_order_price", "close")
_SENT = ("timestamp", "timenow")
_ID = ("alert_id", "id")
_NAME = ("alert_name", "strategy_name", "name")

_SIDES: Mapping[str, tuple[Side | None, SignalType | None]] = {
    "buy": (Side.BUY, None),
    "long": (Side.BUY, None),
    "sell": (Side.SELL, None),
    "short": (Side.SELL, None),
    "exit": (None, SignalType.EXIT),
    "close": (None, SignalType.EXIT),
    "flat": (None, SignalType.EXIT),
    "square_off": (None, SignalType.EXIT),
    "exit_long": (Side.SELL, SignalType.EXIT),
    "close_long": (Side.SELL, SignalType.EXIT),
    "exit_short": (Side.BUY, SignalType.EXIT),
    "close_short": (Side.BUY, SignalType.EXIT),
}
_IN_URL: Mapping[str, tuple[str, ...]] = {"action": _ACTION, "signal_type": ("signal_type",)}
_TYPES = {"entry": SignalType.ENTRY, "enter": SignalType.ENTRY, "exit": SignalType.EXIT, "close": SignalType.EXIT}
_POSITIONS: Mapping[str, Side | None] = {
    "long": Side.BUY,
    "bullish": Side.BUY,
    "short": Side.SELL,
    "bearish": Side.SELL,
    "flat": None,
}
_T = TypeVar("_T")
_GROUP_ID = TypeAdapter(SignalGroupId)
_ACCOUNT_ID = TypeAdapter(AccountId)
_LARGEST = Decimal(10) ** 12
_MOST_DIGITS = 40
_LONGEST_TEXT = 200
_MILLISECONDS_FROM = 10**11
"""A Unix time above this counts milliseconds (seconds would mean the year 5138)."""


@dataclass(frozen=True, slots=True)
class Alert:
    signal_type: SignalType
    action: Side
    symbol: str | None = None
    exchange: str | None = None
    stocks: tuple[str, ...] = ()
    quantity: int | None = None
    price: Decimal | None = None
    account_id: AccountId | None = None
    alert_name: str | None = None
    alert_id: str | None = None
    sent_at: datetime | None = None

    @property
    def about(self) -> bytes:
        """A fingerprint of what it names."""
        return hashlib.sha256("\n".join((self.exchange or "", self.symbol or "", *self.stocks)).encode()).digest()


@dataclass(frozen=True, slots=True)
class Invalid:
    """One field that cannot be understood, and what would be."""

    field: str
    problem: str


class _NotUnderstood(Exception):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.invalid = Invalid(field, problem)


def read_group_id(payload: Mapping[str, object]) -> SignalGroupId | Invalid:
    """Which group the alert is for, where the URL does not say it."""
    try:
        found = _id(payload, _GROUP, _GROUP_ID)
    except _NotUnderstood as error:
        return error.invalid
    return found or Invalid("strategy_id", "missing; send the id of the signal group")


def read_token(payload: Mapping[str, object]) -> str | None:
    """None for a text that no token of ours can be; half a character could not even be compared with one."""
    token = payload.get("token")
    return token if isinstance(token, str) and token.isascii() else None


def with_url(payload: Payload, said: Mapping[str, str]) -> Payload | Invalid:
    """The alert of a sender whose body is his own, as ChartInk's: its URL says what is meant. Where both say it nobody
    can tell which counts.
    """
    for name in said:
        if _first(payload, _IN_URL[name])[1] is not None:
            return Invalid(name, "stands in the URL and in the body; say it in one of them")
    return {**payload, **said}


def read(payload: Mapping[str, object]) -> Alert | Invalid:
    try:
        return _read(payload)
    except _NotUnderstood as error:
        return error.invalid


def _read(payload: Mapping[str, object]) -> Alert:
    signal_type, action = _direction(payload)
    _price(payload, ("trigger_price",))
    return Alert(
        signal_type=signal_type,
        action=action,
        symbol=_text(payload, _SYMBOL),
        exchange=_text(payload, _EXCHANGE),
        stocks=_stocks(payload),
        quantity=_quantity(payload, signal_type),
        price=_price(payload, _PRICE),
        account_id=_id(payload, ("account_id",), _ACCOUNT_ID),
        alert_name=_text(payload, _NAME),
        alert_id=_text(payload, _ID),
        sent_at=_instant(payload, _SENT),
    )


def _direction(payload: Mapping[str, object]) -> tuple[SignalType, Side]:
    action_name, word = _word(payload, _ACTION)
    type_name, said = _word(payload, ("signal_type",))
    after_name, after = _position(payload)
    _, before = _word(payload, _PREVIOUS)
    side, implied = _one_of(_SIDES, action_name, word, "buy or sell") if word else (None, None)
    stated = _one_of(_TYPES, type_name, said, "entry or exit") if said else None
    if stated is SignalType.ENTRY and implied is SignalType.EXIT:
        raise _NotUnderstood(action_name, f"{word!r} contradicts signal_type 'entry'")
    signal_type = stated or implied or (SignalType.EXIT if after == "flat" else SignalType.ENTRY)
    held = _one_of(_POSITIONS, after_name, after, "long, short or flat") if after else None
    if signal_type is SignalType.EXIT:
        return signal_type, side or (Side.BUY if before == "short" else Side.SELL)
    side = side or held
    if side is None:
        raise _NotUnderstood("action", "missing; send buy or sell")
    if not after:
        after_name, after = _signed_position(payload)
    if stated is None and after and _POSITIONS[after] is side.opposite:
        problem = f"a {side.lower()} that leaves the position {after} closes a part of it, which algos with fixed lots"
        raise _NotUnderstood(after_name, f"{problem} cannot; send signal_type entry or exit to say what is meant")
    return signal_type, side


def _position(payload: Mapping[str, object]) -> tuple[str, str]:
    """The position after the alert: long, short, flat, or nothing when the alert does not tell."""
    name, word = _word(payload, _POSITION)
    if word:
        return name, word
    size_name, size = _number(payload, _SIZE)
    return size_name, "flat" if size == 0 else ""


def _signed_position(payload: Mapping[str, object]) -> tuple[str, str]:
    """Where a size alone tells: TradingView's is below 0 when the position is short."""
    name, size = _number(payload, _SIGNED_SIZE)
    return name, "" if not size else "long" if size > 0 else "short"


def _quantity(payload: Mapping[str, object], signal_type: SignalType) -> int | None:
    name, number = _number(payload, _QUANTITY)
    if number is None or (number == 0 and signal_type is SignalType.EXIT):
        return None
    if number <= 0 or number != number.to_integral_value():
        raise _NotUnderstood(name, f"{number} is not a whole number above 0")
    return int(number)


def _price(payload: Mapping[str, object], names: tuple[str, ...]) -> Decimal | None:
    """That of a spread may be below 0."""
    _, value = _first(payload, names)
    if isinstance(value, str) and value.strip().lower() in {"market", "limit"}:
        return None
    return _number(payload, names)[1]


def _number(payload: Mapping[str, object], names: tuple[str, ...]) -> tuple[str, Decimal | None]:
    name, value = _first(payload, names)
    if value is None or _is_placeholder(value):
        return name, None
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise _NotUnderstood(name, "not a number")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        raise _NotUnderstood(name, f"{_shown(value)} is not a number") from None
    if not number.is_finite() or number.copy_abs() >= _LARGEST:  # abs() overflows on 1e9999999
        raise _NotUnderstood(name, f"{_shown(value)} is out of range")
    if len(number.as_tuple().digits) > _MOST_DIGITS:
        raise _NotUnderstood(name, f"{_shown(value)}… has more than {_MOST_DIGITS} digits")
    return name, number


def _text(payload: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    name, value = _first(payload, names)
    if value is None or _is_placeholder(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _NotUnderstood(name, "not a text")
    text = str(value).strip()
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise _NotUnderstood(name, f"longer than {_LONGEST_TEXT} characters, or with unprintable ones")
    return text


def _stocks(payload: Mapping[str, object]) -> tuple[str, ...]:
    """Those that a scan found, each once: ChartInk separates them by commas, others may send a list."""
    name, value = _first(payload, _STOCKS)
    if isinstance(value, str):
        value = [] if _is_placeholder(value) else value.split(",")
    found = (_text({name: each}, (name,)) for each in (value if isinstance(value, list) else [value]))
    return tuple(dict.fromkeys(each for each in found if each))


def _id(payload: Mapping[str, object], names: tuple[str, ...], ids: TypeAdapter[_T]) -> _T | None:
    name, value = _first(payload, names)
    if value is None:
        return None
    try:
        return ids.validate_python(value.strip() if isinstance(value, str) else value)
    except ValidationError:
        raise _NotUnderstood(name, f"{_shown(value)} is not a UUID") from None


def _instant(payload: Mapping[str, object], names: tuple[str, ...]) -> datetime | None:
    """ISO 8601 (UTC where no zone is given, as TradingView writes it) or Unix time in seconds or milliseconds."""
    name, value = _first(payload, names)
    if value is None or _is_placeholder(value):
        return None
    try:
        if isinstance(value, str) and not value.strip().isdecimal():
            instant = datetime.fromisoformat(value.strip())
            return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
        seconds = Decimal(str(value).strip())
        return datetime.fromtimestamp(float(seconds / 1000 if seconds >= _MILLISECONDS_FROM else seconds), UTC)
    except (ValueError, ArithmeticError, OSError):
        raise _NotUnderstood(name, f"{_shown(value)} is not a time such as 2026-01-31T09:15:00Z") from None


def _word(payload: Mapping[str, object], names: tuple[str, ...]) -> tuple[str, str]:
    """A word that decides what happens: in lower case, never a placeholder that nobody filled in."""
    name, value = _first(payload, names)
    if value is None:
        return name, ""
    if not isinstance(value, str):
        raise _NotUnderstood(name, "not a word")
    if _is_placeholder(value):
        raise _NotUnderstood(name, f"the placeholder {_shown(value)} was not filled in")
    return name, value.strip().lower().replace(" ", "_").replace("-", "_")


def _one_of(meanings: Mapping[str, _T], name: str, word: str, expected: str) -> _T:
    if word not in meanings:
        raise _NotUnderstood(name, f"{_shown(word)} is not {expected}")
    return meanings[word]


def _first(payload: Mapping[str, object], names: tuple[str, ...]) -> tuple[str, object]:
    """The first of several names that holds something; a blank is what a placeholder without a value leaves behind."""
    for name in names:
        value = payload.get(name)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return name, value
    return names[0], None


def _is_placeholder(value: object) -> bool:
    return isinstance(value, str) and "{{" in value


def _shown(value: object) -> str:
    return repr(str(value)[:40])
