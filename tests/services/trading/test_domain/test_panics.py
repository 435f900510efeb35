"""Which epochs and stops let an order pass."""

from libs.common import ids
from libs.common.contracts.enums import DenialRule, OrderPurpose
from libs.common.contracts.ids import PanicId
from services.trading.domain import panics
from services.trading.domain.panics import PanicEpoch
from tests.services.trading.making import USER, later, reset


def test_epochs_of_all_scopes_add_up() -> None:
    epochs = [PanicEpoch("ALL", 2), PanicEpoch(f"USER:{USER}", 3)]
    stale = panics.refuse_epoch(epochs, 4, OrderPurpose.ENTRY)
    assert stale is not None
    assert stale.rule is DenialRule.STALE_EPOCH
    assert panics.refuse_epoch(epochs, 5, OrderPurpose.ENTRY) is None


def test_while_a_scope_is_stopped_only_square_offs_pass() -> None:
    epochs = [PanicEpoch("ALL", 1, halted=True)]
    halted = panics.refuse_epoch(epochs, 1, OrderPurpose.EXIT)
    assert halted is not None
    assert halted.rule is DenialRule.HALTED
    assert panics.refuse_epoch(epochs, 1, OrderPurpose.SQUARE_OFF) is None


def test_a_panic_of_a_clock_that_was_ahead_is_reset_all_the_same() -> None:
    """Else nobody could trade until the hour had gone by by which the clock was set back."""
    stopped = PanicEpoch("ALL", 1, halted=True)
    for seconds, code in ((-1, "conflict"), (3600, None)):
        newest = PanicId(ids.first_of(later(seconds)))
        refused = panics.refuse_reset(stopped, newest, reset(), later(0))
        assert (refused.code if refused else None) == code
