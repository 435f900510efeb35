"""What risk says to each message, and what it keeps of it, on a real database."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.contracts.accounts import AccountDeleted
from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import (
    DenialRule,
    OrderPurpose,
    OrderStatus,
    OrderType,
    RiskLevel,
    Side,
)
from libs.common.contracts.ids import AccountId, PanicId, RiskLimitId, UserId
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCleared,
    OrderDenied,
    OrderExpired,
    OrderModified,
    OrderModifyCleared,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderRejected,
    OrderRequested,
)
from libs.common.contracts.portfolio import FundsChanged
from libs.common.contracts.risk import (
    PanicRaised,
    PanicReset,
    RiskLimit,
    RiskLimitDeleted,
    RiskLimitDeleteRequested,
    RiskLimitSaved,
    RiskLimitSaveRequested,
)
from libs.common.service import Connection
from tests.services.risk.scene import (
    ACCOUNT,
    INFY,
    NOW,
    OTHER_ACCOUNT,
    SBIN,
    STRATEGY,
    USER,
    Scene,
    account_saved,
    order,
    position,
    state,
)


@pytest.fixture
async def scene(connection: Connection) -> Scene:
    return await Scene(connection).open()


async def bound(scene: Scene) -> tuple[object, ...]:
    """Margin of orders, margin of positions, positions open or being opened."""
    row = await scene.connection.fetchrow(
        "SELECT order_margin, position_margin, open_positions FROM accounts WHERE account_id = $1", ACCOUNT
    )
    assert row is not None
    return row[0], row[1], row[2]


def cleared(said: Sequence[Message]) -> list[bool]:
    return [isinstance(each, OrderCleared) for each in said]


def rules(said: Sequence[Message]) -> list[DenialRule | None]:
    return [each.rule for each in said if isinstance(each, OrderDenied | OrderModifyRefused)]


def fact(request: OrderRequested, status: OrderStatus, **terms: Any) -> dict[str, Any]:
    return {
        "order_id": request.order_id,
        "account_id": request.account_id,
        "user_id": request.user_id,
        "instrument": request.instrument,
        "status": status,
        "version": 2,
        **terms,
    }


def change(request: OrderRequested, **terms: Any) -> OrderModifyRequested:
    facts: dict[str, Any] = {"expires_at": NOW + timedelta(seconds=30), **terms}
    return OrderModifyRequested(order_id=request.order_id, account_id=ACCOUNT, user_id=USER, **facts)


def limit(level: RiskLevel = RiskLevel.USER, version: int = 0, **terms: Any) -> RiskLimitSaveRequested:
    limit_id = terms.pop("limit_id", None) or RiskLimitId(ids.new_id())
    amounts = RiskLimit(limit_id=limit_id, user_id=USER, level=level, **terms)
    return RiskLimitSaveRequested(limit_id=limit_id, user_id=USER, limit=amounts, expected_version=version)


def panic(scope: str, epoch: int = 1) -> PanicRaised:
    return PanicRaised(
        panic_id=PanicId(ids.new_id()), scope=scope, level=RiskLevel.ALL, epoch=epoch, raised_by=USER, reason="test"
    )


def reset(scope: str, epoch: int = 1) -> PanicReset:
    return PanicReset(panic_id=PanicId(ids.new_id()), scope=scope, level=RiskLevel.ALL, epoch=epoch, reset_by=USER)


async def test_an_order_within_the_limits_is_cleared_and_blocks_its_margin(scene: Scene) -> None:
    request = order()
    [event] = await scene.tell(request)
    assert isinstance(event, OrderCleared)
    assert (event.margin, event.epoch) == (Decimal("1600.00"), 0)
    assert event.order_id == request.order_id
    assert event.requested_at == request.requested_at
    assert await bound(scene) == (1600, 0, 1)


async def test_orders_of_one_batch_share_the_margin_that_is_left(scene: Scene) -> None:
    said = await scene.tell(*(order(quantity=200) for _ in range(4)))
    assert cleared(said) == [True, True, True, False]
    assert rules(said) == [DenialRule.MARGIN]
    assert await bound(scene) == (96_000, 0, 1)


async def test_nautilus_3176_an_order_id_is_decided_once(scene: Scene) -> None:
    request = order()
    assert len(await scene.tell(request, request)) == 1
    assert await scene.tell(request) == []
    assert await bound(scene) == (1600, 0, 1)


async def test_a_denied_order_id_stays_denied(scene: Scene) -> None:
    wrong = order(quantity=0)
    assert rules(await scene.tell(wrong)) == [DenialRule.LOT_SIZE]
    assert await scene.tell(wrong.model_copy(update={"quantity": 10})) == []


async def test_an_account_that_nobody_told_of_is_unknown_and_leaves_no_row(scene: Scene) -> None:
    stranger = AccountId(ids.new_id())
    assert rules(await scene.tell(order(account_id=stranger))) == [DenialRule.ACCOUNT_UNKNOWN]
    assert await scene.connection.fetchval("SELECT count(*) FROM accounts WHERE account_id = $1", stranger) == 0


async def test_an_account_may_be_deactivated_and_deleted(scene: Scene) -> None:
    assert cleared(await scene.tell(order())) == [True]
    assert rules(await scene.tell(account_saved(active=False), order())) == [DenialRule.ACCOUNT_INACTIVE]
    assert cleared(await scene.tell(account_saved(), order())) == [True]
    deleted = AccountDeleted(account_id=ACCOUNT, user_id=USER)
    assert rules(await scene.tell(deleted, order())) == [DenialRule.ACCOUNT_UNKNOWN]


async def test_a_fill_moves_margin_from_the_order_to_the_position(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    half = position(state(5, 800), order_id=request.order_id, fill_quantity=5, margin=Decimal(810))
    await scene.tell(half)
    assert await bound(scene) == (800, 810, 1)
    await scene.tell(half)
    assert await bound(scene) == (800, 810, 1), "the same version again changes nothing"
    rest = position(state(10, 800), order_id=request.order_id, fill_quantity=5, margin=Decimal(1620), version=2)
    await scene.tell(rest)
    assert await bound(scene) == (0, 1620, 1)


async def test_a_closed_position_blocks_nothing(scene: Scene) -> None:
    entry, leave = order(), order(side=Side.SELL)
    await scene.tell(entry)
    await scene.tell(position(state(10, 800), order_id=entry.order_id, margin=Decimal(1600)))
    [event] = await scene.tell(leave)
    assert isinstance(event, OrderCleared)
    assert event.margin == 0
    await scene.tell(position(state(0), order_id=leave.order_id, fill_quantity=10, version=2))
    assert await bound(scene) == (0, 0, 0)


@pytest.mark.parametrize(
    "ending",
    [
        lambda r: OrderCancelled(**fact(r, OrderStatus.CANCELLED), reason="asked"),
        lambda r: OrderExpired(**fact(r, OrderStatus.EXPIRED), reason="session over"),
        lambda r: OrderRejected(**fact(r, OrderStatus.REJECTED), reason="venue"),
        lambda r: OrderDenied(
            **{k: v for k, v in r.__dict__.items() if k not in ("expires_at", "epoch")},
            rule=DenialRule.STALE_EPOCH,
            reason="a panic was raised",
        ),
    ],
)
async def test_hummingbot_2416_every_way_to_end_releases_what_was_blocked(scene: Scene, ending: Any) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(ending(request))
    await scene.tell(ending(request))
    assert await bound(scene) == (0, 0, 0)


async def test_a_partly_filled_order_that_is_cancelled_releases_the_rest(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(
        position(state(4, 800), order_id=request.order_id, fill_quantity=4, margin=Decimal(640)),
        OrderCancelled(**fact(request, OrderStatus.CANCELLED, filled_quantity=4), reason="asked"),
    )
    assert await bound(scene) == (0, 640, 1)


async def test_realised_profit_can_be_traded_with(scene: Scene) -> None:
    big = order(quantity=700)
    assert rules(await scene.tell(big)) == [DenialRule.MARGIN]
    funds = FundsChanged(
        account_id=ACCOUNT,
        user_id=USER,
        opening_balance=Decimal(100_000),
        realised_pnl=Decimal(12_000),
        used_margin=Decimal(0),
        available=Decimal(112_000),
        version=1,
    )
    assert cleared(await scene.tell(funds, order(quantity=700))) == [True]


async def test_positions_and_funds_may_be_told_before_the_account_is(connection: Connection) -> None:
    scene = Scene(connection)
    await scene.tell(position(state(10, 800), margin=Decimal(1600)))
    assert await bound(scene) == (0, 1600, 1)
    assert rules(await scene.tell(order())) == [DenialRule.ACCOUNT_UNKNOWN]
    await scene.tell(account_saved())
    assert cleared(await scene.tell(order(quantity=625))) == [False]
    assert cleared(await scene.tell(order(quantity=615))) == [True]


@pytest.mark.parametrize("scope", ["ALL", f"USER:{USER}", f"ACCOUNT:{ACCOUNT}", f"STRATEGY:{STRATEGY}"])
async def test_a_panic_stops_its_scope_until_a_person_resets_it(scene: Scene, scope: str) -> None:
    assert rules(await scene.tell(panic(scope, 4), order(strategy_id=STRATEGY))) == [DenialRule.HALTED]
    assert rules(await scene.tell(order(strategy_id=STRATEGY))) == [DenialRule.HALTED]
    [event] = await scene.tell(reset(scope, 4), order(strategy_id=STRATEGY))
    assert isinstance(event, OrderCleared)
    assert event.epoch == 4, "the epoch stays"


async def test_a_panic_of_another_scope_stops_nobody_else(scene: Scene) -> None:
    others = [panic(f"USER:{ids.new_id()}"), panic(f"ACCOUNT:{OTHER_ACCOUNT}"), panic(f"STRATEGY:{STRATEGY}")]
    assert cleared(await scene.tell(*others, order())) == [True]


async def test_two_exits_in_one_batch_never_flip_a_position(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    exits = [order(side=Side.SELL, quantity=6, purpose=OrderPurpose.EXIT) for _ in range(2)]
    said = await scene.tell(*exits)
    assert cleared(said) == [True, False]
    assert rules(said) == [DenialRule.NOT_REDUCING]
    await scene.tell(OrderCancelled(**fact(exits[0], OrderStatus.CANCELLED), reason="asked"))
    assert cleared(await scene.tell(order(side=Side.SELL, quantity=6, purpose=OrderPurpose.EXIT))) == [True]


async def test_a_change_blocks_the_difference_and_holds_all_new_terms(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    [event] = await scene.tell(change(request, quantity=20))
    assert event == OrderModifyCleared(
        order_id=request.order_id,
        account_id=ACCOUNT,
        user_id=USER,
        quantity=20,
        order_type=OrderType.LIMIT,
        price=Decimal(800),
        trigger_price=None,
        margin=Decimal("3200.00"),
        increasing=20,
        unit_margin=Decimal(160),
        epoch=0,
    )
    assert await bound(scene) == (3200, 0, 1)
    taken = OrderModified(
        **fact(request, OrderStatus.ACCEPTED), quantity=20, order_type=OrderType.LIMIT, price=Decimal(800),
        trigger_price=None,
    )  # fmt: skip
    await scene.tell(taken)
    assert await bound(scene) == (3200, 0, 1)


async def test_a_change_that_the_venue_refused_blocks_nothing_more(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(change(request, price=Decimal(850)))
    assert await bound(scene) == (1700, 0, 1)
    await scene.tell(OrderModifyRefused(order_id=request.order_id, account_id=ACCOUNT, user_id=USER, reason="late"))
    assert await bound(scene) == (1600, 0, 1)


async def test_one_change_at_a_time_and_a_refused_second_one_does_not_end_the_first(scene: Scene) -> None:
    request, first, second = order(), ids.new_id(), ids.new_id()
    await scene.tell(request)
    await scene.tell(change(request, price=Decimal(850)), story=first)
    [refused] = await scene.tell(change(request, price=Decimal(820)), story=second)
    assert isinstance(refused, OrderModifyRefused)
    assert refused.reason == f"another change of order {request.order_id} is under way"
    await scene.tell(refused, story=second)
    assert await bound(scene) == (1700, 0, 1), "trading said our refusal again"
    await scene.tell(refused, story=first)
    assert await bound(scene) == (1600, 0, 1), "trading refused what we cleared"
    [event] = await scene.tell(change(request, price=Decimal(820)))
    assert isinstance(event, OrderModifyCleared)


async def test_a_smaller_order_frees_its_margin_only_when_the_venue_has_taken_it(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(change(request, quantity=5))
    assert await bound(scene) == (1600, 0, 1)
    await scene.tell(
        OrderModified(
            **fact(request, OrderStatus.ACCEPTED),
            quantity=5,
            order_type=OrderType.LIMIT,
            price=Decimal(800),
            trigger_price=None,
        )
    )
    assert await bound(scene) == (800, 0, 1)


async def test_a_change_is_checked_as_a_new_order_would_be(scene: Scene) -> None:
    request = order(quantity=100)
    await scene.tell(request)
    wrong = [
        (change(request, price=Decimal("800.03")), DenialRule.TICK_SIZE),
        (change(request, price=Decimal(1000)), DenialRule.PRICE_BAND),
        (change(request, quantity=700), DenialRule.MARGIN),
        (change(request, expires_at=NOW - timedelta(seconds=1)), DenialRule.REQUEST_EXPIRED),
        (change(request, order_type=OrderType.SL), DenialRule.TICK_SIZE),
    ]
    assert rules(await scene.tell(*(each for each, _ in wrong))) == [rule for _, rule in wrong]
    assert await bound(scene) == (16_000, 0, 1)


async def test_only_the_difference_of_a_change_must_be_available(scene: Scene) -> None:
    request = order(quantity=600)
    await scene.tell(request)
    said = await scene.tell(change(request, quantity=625))
    assert isinstance(said[0], OrderModifyCleared)


async def test_a_quantity_below_what_is_filled_is_refused(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    await scene.tell(position(state(6, 800), order_id=request.order_id, fill_quantity=6))
    assert rules(await scene.tell(change(request, quantity=6))) == [DenialRule.LOT_SIZE]


async def test_an_order_that_is_unknown_final_or_somebody_elses_cannot_be_changed(scene: Scene) -> None:
    request, denied = order(), order(quantity=0)
    await scene.tell(request, denied)
    await scene.tell(OrderCancelled(**fact(request, OrderStatus.CANCELLED), reason="asked"))
    theirs = order()
    await scene.tell(theirs)
    stranger = change(theirs, quantity=20).model_copy(update={"user_id": UserId(ids.new_id())})
    for refused in (change(order()), change(request), change(denied), stranger):
        assert rules(await scene.tell(refused)) == [DenialRule.ORDER_NOT_OPEN]


async def test_a_change_in_a_halted_scope_is_refused(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    assert rules(await scene.tell(panic("ALL"), change(request, quantity=20))) == [DenialRule.HALTED]


async def test_a_limit_is_saved_then_obeyed_in_the_same_batch(scene: Scene) -> None:
    said = await scene.tell(order(), limit(max_order_value=Decimal(7000)), order())
    assert isinstance(said[1], RiskLimitSaved)
    assert said[1].version == 1
    assert rules(said) == [DenialRule.MAX_ORDER_VALUE]
    assert await bound(scene) == (1600, 0, 1)


async def test_a_count_limit_saved_amid_a_batch_counts_what_the_batch_opened_before(scene: Scene) -> None:
    infy = order(quantity=1, instrument=INFY, price=Decimal(1500))
    said = await scene.tell(order(quantity=1), limit(max_open_positions=1), infy)
    assert rules(said) == [DenialRule.MAX_OPEN_POSITIONS]


async def test_a_change_of_type_drops_the_prices_that_it_does_not_take(scene: Scene) -> None:
    request = order()
    await scene.tell(request)
    [event] = await scene.tell(change(request, order_type=OrderType.MARKET))
    assert isinstance(event, OrderModifyCleared)
    assert (event.order_type, event.price, event.trigger_price) == (OrderType.MARKET, None, None)


async def test_a_deleted_or_inactive_limit_limits_nothing(scene: Scene) -> None:
    request = limit(max_order_value=Decimal(7000))
    await scene.tell(request)
    inactive = limit(limit_id=request.limit_id, version=1, max_order_value=Decimal(7000), active=False)
    assert cleared(await scene.tell(inactive, order())) == [False, True]
    again = limit(limit_id=request.limit_id, version=2, max_order_value=Decimal(7000))
    assert rules(await scene.tell(again, order())) == [DenialRule.MAX_ORDER_VALUE]
    gone = RiskLimitDeleteRequested(limit_id=request.limit_id, user_id=USER)
    assert await scene.tell(gone) == [RiskLimitDeleted(limit_id=request.limit_id, user_id=USER)]
    assert cleared(await scene.tell(order())) == [True]


async def test_a_limit_saved_under_an_old_version_is_refused(scene: Scene) -> None:
    first = limit(stop_loss=Decimal(1))
    await scene.tell(first)
    [event] = await scene.tell(limit(limit_id=first.limit_id, version=0, stop_loss=Decimal(2)))
    assert event == RequestRefused(
        entity_id=str(first.limit_id),
        request="RiskLimitSaveRequested",
        code="conflict",
        reason="version 0 was expected, it is 1 now",
    )


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"version": 3, "stop_loss": Decimal(1)}, "not_found"),
        ({}, "invalid"),
        ({"stop_loss": Decimal(-5)}, "invalid"),
        ({"max_open_positions": 0}, "invalid"),
        ({"level": RiskLevel.ALL, "stop_loss": Decimal(1)}, "invalid"),
        ({"level": RiskLevel.ACCOUNT, "stop_loss": Decimal(1)}, "invalid"),
        ({"account_id": ACCOUNT, "stop_loss": Decimal(1)}, "invalid"),
        ({"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "stop_loss": Decimal(1)}, "invalid"),
        (
            {"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "instrument": SBIN, "max_open_positions": 1},
            "invalid",
        ),
    ],
)
async def test_a_limit_that_makes_no_sense_is_refused(scene: Scene, terms: dict[str, Any], code: str) -> None:
    [event] = await scene.tell(limit(**terms))
    assert isinstance(event, RequestRefused)
    assert event.code == code


async def test_nobody_changes_another_persons_limit(scene: Scene) -> None:
    mine = limit(stop_loss=Decimal(1))
    await scene.tell(mine)
    thief = UserId(ids.new_id())
    stolen = mine.limit.model_copy(update={"user_id": thief})
    [saved, deleted] = await scene.tell(
        RiskLimitSaveRequested(limit_id=mine.limit_id, user_id=thief, limit=stolen, expected_version=1),
        RiskLimitDeleteRequested(limit_id=mine.limit_id, user_id=thief),
    )
    assert isinstance(saved, RequestRefused)
    assert isinstance(deleted, RequestRefused)
    assert (saved.code, deleted.code) == ("not_found", "not_found")


async def test_positions_are_counted_with_those_being_opened(scene: Scene) -> None:
    await scene.tell(limit(RiskLevel.ACCOUNT, account_id=ACCOUNT, max_open_positions=1))
    said = await scene.tell(order(quantity=1), order(quantity=1, instrument=INFY, price=Decimal(1500)))
    assert rules(said) == [DenialRule.MAX_OPEN_POSITIONS]


async def test_a_user_counts_positions_over_all_accounts_and_a_strategy_over_its_books(scene: Scene) -> None:
    await scene.tell(account_saved(OTHER_ACCOUNT), limit(max_open_positions=2))
    infy = {"instrument": INFY, "price": Decimal(1500), "quantity": 1}
    said = await scene.tell(order(quantity=1), order(account_id=OTHER_ACCOUNT, quantity=1), order(**infy))
    assert cleared(said) == [True, True, False]
    await scene.tell(limit(RiskLevel.STRATEGY, strategy_id=STRATEGY, max_open_positions=1))
    own = {"strategy_id": STRATEGY, "account_id": OTHER_ACCOUNT}
    said = await scene.tell(order(quantity=1, **own), order(**{**infy, **own}))
    assert cleared(said) == [True, False]
    assert "max open positions 2" in str(said[1]), "the user's limit is the first to refuse"


async def test_identical_orders_are_denied_within_the_window_only(scene: Scene) -> None:
    assert cleared(await scene.tell(order(), order())) == [True, True], "off unless configured"
    await scene.tell(limit(identical_order_window_s=5))
    assert cleared(await scene.tell(order(), order(), order(price=Decimal(801)))) == [True, False, True]
    assert rules(await scene.tell(order())) == [DenialRule.IDENTICAL_ORDER]
    scene.later(seconds=5)
    assert cleared(await scene.tell(order())) == [True]


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"instrument": "NSE:\0"}, DenialRule.INSTRUMENT_UNKNOWN),
        ({"price": Decimal("1E+999")}, DenialRule.TICK_SIZE),
        ({"price": Decimal("1E-999999")}, DenialRule.TICK_SIZE),
        ({"quantity": 10**4000}, DenialRule.LOT_SIZE),
        ({"quantity": 10**9}, DenialRule.MARGIN),
    ],
)
async def test_absurd_orders_are_denied_and_stop_nobody(scene: Scene, terms: dict[str, Any], rule: DenialRule) -> None:
    said = await scene.tell(order(**terms), order())
    assert rules(said) == [rule]
    assert len(said) == 2


async def test_a_person_cannot_make_a_square_off_larger_than_what_is_open(scene: Scene) -> None:
    await scene.tell(position(state(10, 800)))
    request = order(side=Side.SELL, purpose=OrderPurpose.SQUARE_OFF)
    await scene.tell(request)
    said = await scene.tell(change(request, quantity=20), change(request, price=Decimal(790)))
    assert rules(said) == [DenialRule.NOT_REDUCING]
    assert isinstance(said[1], OrderModifyCleared)


async def test_an_order_id_of_another_account_decides_nothing(scene: Scene) -> None:
    await scene.tell(account_saved(OTHER_ACCOUNT))
    request = order()
    await scene.tell(request)
    assert await scene.tell(request.model_copy(update={"account_id": OTHER_ACCOUNT})) == []
