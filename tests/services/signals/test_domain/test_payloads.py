"""Any bytes are a payload or malformed, and are kept without their secrets."""

import contextlib
import json
import signal
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signals.domain import alerts, payloads
from services.signals.domain.alerts import Alert, Invalid


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
        (b'{"strategy_id": %b}' % (b"[" * 900 + b"]" * 900), "nested too deeply"),
        (b'{"x": %b1%b}' % (b'{"x": ' * 900, b"}" * 900), "nested too deeply"),
        (b'{"price": 1e99999999999999999999}', "not JSON"),
        (b'{"price": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"action": "buy", "quantity": 1, "quantity": 100}', "'quantity' twice"),
        (b'{"action": "buy", "Quantity": 1, "quantity ": 100}', "'quantity' twice"),
        (b'{"data": {"action": "buy", "action": "sell"}}', "'action' twice"),
    ],
)
def test_what_is_not_a_json_object_says_why(body: bytes, problem: str) -> None:
    payload = payloads.decode(body)
    assert isinstance(payload, payloads.Malformed)
    assert problem in payload.problem


def test_a_name_without_end_is_told_in_few_words() -> None:
    payload = payloads.decode(b'{"%b": 1, "%b": 2}' % (b"a" * 30_000, b"a" * 30_000))
    assert payload == payloads.Malformed(f"an object names {'a' * 40!r} twice")


def test_what_is_nested_as_deep_as_may_be_is_read() -> None:
    body = b'{"action": "buy", "x": %b}' % (b"[" * 98 + b"]" * 98)
    payload = payloads.decode(body)
    assert isinstance(payload, dict)
    assert isinstance(alerts.read(payload), Alert)


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
    "body",
    [
        b'{"token": "s3cr3t", "price": }',
        b'{"my_secret" : s3cr3t, "x": }',
        b'{"token": "s3cr3t',
        b'{"a": "b, "an Auth word": "s3cr3t", "KEY":s3cr3t',
    ],
)
def test_secrets_are_not_kept_of_malformed_bodies_either(body: bytes) -> None:
    assert "s3cr3t" not in payloads.safe_copy(body, (), 1000)


@pytest.mark.parametrize("body", [b'{"' + b"token" * 100_000, b'{"' + b"auth" * 100_000, b'"key" ' * 100_000])
def test_a_body_made_of_secret_words_is_read_once(body: bytes) -> None:
    """Seen: 50 ms for an alert of 4,096 characters, in which nobody else's was taken, and four times that for twice as
    many. What is read for each of its words again is not through in minutes here.
    """
    with read_once():
        assert payloads.safe_copy(body, (), len(body)) == body.decode()


def test_a_body_of_many_names_is_looked_through_once() -> None:
    """Seen: 0.7 s for an alert of 64 KiB that needed no credential, and nobody else's was taken meanwhile; a body of
    1 MiB, read alike, held up the gateway for minutes.
    """
    names = b", ".join(b'"%d": 1' % n for n in range(200_000))
    with read_once():
        payload = payloads.decode(b'{%b, "action": "buy", "action": "sell"}' % names)
    assert payload == payloads.Malformed("an object names 'action' twice")


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Fails after a minute."""

    def give_up(*_: object) -> None:
        raise AssertionError("read again and again")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
