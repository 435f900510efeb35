"""The body of an alert: from bytes to named values, its fingerprint, and the copy that is safe to keep."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from libs.common.named_once import NamedTwice, named_once

Payload = dict[str, object]

_NAME = re.compile(r"[^a-z0-9]+")
_CONFIDENTIAL = r"token|secret|pass(?:word|phrase|wd)|api_?-?key|auth|credential|signature"
_SECRET_NAME = re.compile(rf"{_CONFIDENTIAL}|^key$", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    rf'("(?:(?=[^"]*?(?:{_CONFIDENTIAL}))[^"]*+|key)"\s*:\s*)("(?:[^"\\]|\\.)*"|[^,}}\]\s]+)',
    re.IGNORECASE,
)
"""Looks ahead for the word in a name and then goes to its end without a step back: with both in one search a body of
thousands of such words was read thousands of times.
"""
REDACTED = "[redacted]"
_DEEPEST = 100
"""Levels of a body: the interpreter gives up at a thousand, of which the callers have taken some."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """The body is not one JSON object; `problem` says where it stops being one, or what it says twice."""

    problem: str


_TOO_DEEP = Malformed("the body is nested too deeply")


def decode(body: bytes) -> Payload | Malformed:
    """Read JSON whatever the sender calls it, with or without a byte order mark. Numbers with a point are exact.

    Names lose case and punctuation (`Strategy-ID` is `strategy_id`); what is nested under `data` counts as top level.
    An object that names a field twice is malformed: one of the two would be traded, and nobody said which.
    """
    if not body.strip():
        return Malformed("the body is empty")
    try:
        found = json.loads(
            body.decode("utf-8-sig"),
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=named_once,
        )
    except RecursionError:
        return _TOO_DEEP
    except UnicodeDecodeError:
        return Malformed("the body is not UTF-8")
    except NamedTwice as error:
        return Malformed(str(error))
    except (ValueError, ArithmeticError) as error:
        return Malformed(f"the body is not JSON: {error}")
    if _is_deep(found):
        return _TOO_DEEP
    return _flat(found) if isinstance(found, dict) else Malformed("the body is JSON but not an object")


def _flat(found: Payload) -> Payload | Malformed:
    nested = found.get("data")
    if isinstance(nested, dict):
        found = {**nested, **{name: value for name, value in found.items() if name != "data"}}
    try:
        return named_once([(_NAME.sub("_", name.strip().lower()).strip("_"), value) for name, value in found.items()])
    except NamedTwice as error:
        return Malformed(str(error))


def _is_deep(found: object) -> bool:
    """Whether it is nested deeper than everything that is done with a payload can follow, wherever it is called."""
    level = [found]
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def fingerprint(body: bytes, payload: Payload | Malformed) -> bytes:
    """The same for the same content, however it is spaced or ordered."""
    if isinstance(payload, Malformed):
        return hashlib.sha256(body).digest()
    return hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).digest()


def safe_copy(body: bytes, known_secrets: tuple[str, ...], characters: int) -> str:
    """The body as text without its secrets, cut to `characters`: what the log keeps."""
    try:
        text = json.dumps(_without_secrets(json.loads(body.decode("utf-8-sig"))))
    except (ValueError, RecursionError):
        cut = body[: characters * 4].decode("utf-8", "replace")[:characters].replace("\x00", "")
        text = _SECRET_TEXT.sub(rf'\1"{REDACTED}"', cut)
    for secret in known_secrets:
        text = text.replace(secret, REDACTED)
    return text[:characters]


def _without_secrets(value: object) -> object:
    match value:
        case dict():
            return {
                name: REDACTED if _SECRET_NAME.search(name) else _without_secrets(inner)
                for name, inner in value.items()
            }
        case list():
            return [_without_secrets(inner) for inner in value]
        case _:
            return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
