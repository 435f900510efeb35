"""What the failure tests hold against the book: a cancel or a change that was answered 200 was carried out."""

import orjson

from tests.chaos.audit import Verdict, check_cancels, check_changes
from tests.chaos.wishes import Kind, Wish


def cancel(*statuses: int) -> Wish:
    return Wish(Kind.CANCEL, "key", b"", 1.0, of="one", statuses=[*statuses])


def change(quantity: int, *statuses: int, due: float = 1.0) -> Wish:
    """Answered half a second after it was wished, if it was."""
    content = b"POST / HTTP/1.1\r\n\r\n" + orjson.dumps({"order_id": "one", "quantity": quantity})
    wish = Wish(Kind.MODIFY, "key", content, due, of="one", statuses=[*statuses])
    wish.status = statuses[-1] if statuses and statuses[-1] < 500 else None
    wish.answered = due + 0.5 if wish.status else 0.0
    return wish


def after_cancels(status: str | None, *wishes: Wish) -> list[str]:
    verdict = Verdict()
    check_cancels({"one": {"order_id": "one", "status": status}} if status else {}, [*wishes], verdict)
    assert verdict.lost == len(verdict.faults)
    return verdict.faults


def after_changes(quantity: int | None, *wishes: Wish) -> list[str]:
    verdict = Verdict()
    check_changes({"one": {"order_id": "one", "quantity": quantity}} if quantity else {}, [*wishes], verdict)
    assert verdict.lost == len(verdict.faults)
    return verdict.faults


def test_an_order_whose_cancel_was_answered_200_is_cancelled() -> None:
    assert not after_cancels("CANCELLED", cancel(503, 200))
    for other in ("ACCEPTED", "PARTIALLY_FILLED", "FILLED", "EXPIRED"):
        assert "its cancel was answered [503, 200]" in after_cancels(other, cancel(503, 200))[0]
    assert after_cancels(None, cancel(200))


def test_a_cancel_that_was_refused_or_is_open_promises_nothing() -> None:
    assert not after_cancels("FILLED", cancel(409))
    assert not after_cancels("ACCEPTED", cancel(202), cancel(503), cancel())


def test_an_order_whose_change_was_answered_200_has_that_quantity() -> None:
    assert not after_changes(3, change(3, 200))
    assert "has 5, its changes make [3]" in after_changes(5, change(3, 200))[0]
    assert after_changes(None, change(3, 200))


def test_the_later_of_two_changes_holds_and_of_two_at_once_either_may() -> None:
    first, second, at_once = change(3, 200), change(4, 200, due=2.0), change(4, 200, due=1.2)
    assert not after_changes(4, first, second)
    assert after_changes(3, first, second)
    assert not after_changes(3, first, at_once)
    assert not after_changes(4, first, at_once)


def test_a_change_that_is_open_may_be_the_last_one_and_a_refused_one_is_not() -> None:
    assert not after_changes(9, change(9, 202), change(3, 200, due=2.0))
    assert not after_changes(9, change(9, 503), change(3, 200, due=2.0))
    assert after_changes(9, change(9, 409), change(3, 200, due=2.0))
    assert after_changes(9, change(9, 503, 422, due=3.0), change(3, 200, due=2.0))


def test_of_changes_that_nobody_said_were_carried_out_nothing_is_promised() -> None:
    assert not after_changes(5, change(3, 409), change(4, 202), change(6))
