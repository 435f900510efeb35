"""Whose orders are taken at all, and when: the request, the account, a halt."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.common.contracts.enums import DenialRule, OrderPurpose
from libs.common.contracts.orders import OrderCleared, OrderDenied
from services.risk.domain.halts import Halt
from services.risk.domain.ledger import Account
from services.risk.domain.orders import decide
from services.risk.domain.rules import denial
from tests.services.risk.scene import ACCOUNT, NOW, SBIN, USER, order
from tests.services.risk.test_domain.checking import RICH, STRANGER, check, refused


def test_an_ordinary_order_passes_every_rule() -> None:
    assert denial(check(order())) is None


def test_a_request_that_waited_too_long_is_denied() -> None:
    late = order(expires_at=NOW - timedelta(seconds=2))
    assert refused(late).rule is DenialRule.REQUEST_EXPIRED
    assert refused(late).reason == "the request expired 2.0 s ago"


def test_a_request_is_good_until_its_last_instant() -> None:
    assert denial(check(order(expires_at=NOW))) is None


@pytest.mark.parametrize("account", [Account(ACCOUNT), replace(RICH, user_id=STRANGER)])
def test_an_account_that_is_unknown_or_somebody_elses_is_unknown(account: Account) -> None:
    assert refused(order(), account=account).rule is DenialRule.ACCOUNT_UNKNOWN


def test_a_deactivated_account_takes_no_orders() -> None:
    assert refused(order(), account=replace(RICH, active=False)).rule is DenialRule.ACCOUNT_INACTIVE


def test_a_halted_scope_takes_no_orders_and_is_named() -> None:
    halts = (Halt("ALL", 3, halted=False), Halt(f"USER:{USER}", 1, halted=True))
    found = refused(order(), halts=halts)
    assert (found.rule, found.value) == (DenialRule.HALTED, f"USER:{USER}")


def test_a_reset_scope_takes_orders_under_the_sum_of_its_epochs() -> None:
    halts = (Halt("ALL", 3, halted=False), Halt(f"ACCOUNT:{ACCOUNT}", 2, halted=False))
    cleared = decide(order(), check(order(), halts=halts))
    assert isinstance(cleared, OrderCleared)
    assert cleared.epoch == 5


def test_only_a_square_off_may_bring_its_own_epoch() -> None:
    halts = (Halt("ALL", 3, halted=False),)
    for purpose, epoch in ((OrderPurpose.ENTRY, 3), (OrderPurpose.SQUARE_OFF, 9)):
        request = order(epoch=9, purpose=purpose)
        cleared = decide(request, check(request, halts=halts))
        assert isinstance(cleared, OrderCleared)
        assert cleared.epoch == epoch


def test_a_denial_carries_the_whole_order() -> None:
    request = order(quantity=0)
    event = decide(request, check(request))
    assert isinstance(event, OrderDenied)
    assert (event.order_id, event.quantity, event.instrument) == (request.order_id, 0, SBIN)
