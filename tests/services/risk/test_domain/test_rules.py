"""Each rule refuses what it should, and says rule, limit and value."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderType, Product, RiskLevel, Side
from libs.common.contracts.ids import RiskLimitId, UserId
from libs.common.contracts.orders import OrderCleared, OrderDenied, OrderRequested
from services.risk.domain.halts import Halt
from services.risk.domain.instruments import Instrument, Price
from services.risk.domain.ledger import Account, Exposure, Ledger
from services.risk.domain.limits import OrderLimit
from services.risk.domain.money import rupees
from services.risk.domain.orders import decide
from services.risk.domain.rules import Denial, OrderCheck, denial
from services.risk.settings import RiskSettings
from tests.services.risk.scene import (
    ACCOUNT,
    CALL,
    CONTRACTS,
    FUTURE,
    INFY,
    NOW,
    OTHER_ACCOUNT,
    SBIN,
    SPOT,
    STRATEGY,
    TODAY,
    USER,
    market,
    order,
    quote,
)

MARKET = market()
STRANGER = UserId(ids.new_id())
RICH = Account(ACCOUNT, USER, active=True, opening_balance=Decimal(100_000))


def limit(**terms: Any) -> OrderLimit:
    facts: dict[str, Any] = {"level": RiskLevel.USER, **terms}
    return OrderLimit(RiskLimitId(ids.new_id()), USER, **facts)


def held(quantity: int, **more: Any) -> Exposure:
    return Exposure(ACCOUNT, None, SBIN, Product.MIS, USER, quantity=quantity, **more)


def check(request: OrderRequested, **facts: Any) -> OrderCheck:
    instrument = MARKET.instrument(request.instrument)
    net = facts.pop("net", replace(held(0), instrument=request.instrument, product=request.product))
    ledger = Ledger(facts.pop("account", RICH), net, facts.pop("book", None))
    known: dict[str, Any] = {
        "halts": (),
        "limits": (),
        "instrument": instrument,
        "price": MARKET.price(request.instrument),
        "spot": MARKET.price(instrument.spot) if instrument else None,
        "now": NOW,
        "open_positions": {},
        **facts,
    }
    return OrderCheck(
        order=request, expires_at=request.expires_at, ledger=ledger, policy=RiskSettings().policy, **known
    )


def refused(request: OrderRequested, **facts: Any) -> Denial:
    found = denial(check(request, **facts))
    assert found is not None
    return found


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


def test_an_instrument_that_nobody_listed_is_unknown() -> None:
    assert refused(order(instrument="NSE:NOSUCH")).rule is DenialRule.INSTRUMENT_UNKNOWN


def test_an_index_cannot_be_traded() -> None:
    assert refused(order(instrument=SPOT)).rule is DenialRule.INSTRUMENT_NOT_TRADABLE


def test_a_delisted_instrument_cannot_be_traded() -> None:
    delisted = Instrument.listed(CONTRACTS[0].model_copy(update={"tradable": False}))
    assert refused(order(), instrument=delisted).rule is DenialRule.INSTRUMENT_NOT_TRADABLE


def test_a_contract_trades_on_its_expiry_day_and_not_after() -> None:
    request = order(instrument=FUTURE, quantity=35, price=Decimal(24000), product=Product.NRML)
    rich = replace(RICH, opening_balance=Decimal(10**7))
    assert denial(check(request, account=rich)) is None
    next_day = NOW + timedelta(hours=12, seconds=1)
    late = request.model_copy(update={"expires_at": next_day})
    assert refused(late, now=next_day).reason == f"{FUTURE} expired on {TODAY}"


def test_the_expiry_day_is_the_indian_day() -> None:
    just_before_midnight = NOW + timedelta(hours=11, minutes=59)
    request = order(
        instrument=FUTURE, quantity=35, price=Decimal(24000), product=Product.MIS, expires_at=just_before_midnight
    )
    assert denial(check(request, now=just_before_midnight)) is None


@pytest.mark.parametrize(
    ("instrument", "product", "allowed"),
    [
        (SBIN, Product.CNC, True),
        (SBIN, Product.NRML, False),
        (CALL, Product.NRML, True),
        (CALL, Product.CNC, False),
        (CALL, Product.MIS, True),
    ],
)
def test_delivery_is_for_equities_and_carrying_for_derivatives(
    instrument: str, product: Product, allowed: bool
) -> None:
    request = order(instrument=instrument, product=product, quantity=75, price=Decimal(100))
    facts: dict[str, Any] = {"price": None}
    found = denial(check(request, **facts))
    assert (found is None) if allowed else (found is not None and found.rule is DenialRule.PRODUCT_NOT_ALLOWED)


@pytest.mark.parametrize("quantity", [0, -75])
def test_a_quantity_is_above_zero(quantity: int) -> None:
    assert refused(order(instrument=CALL, quantity=quantity)).rule is DenialRule.LOT_SIZE


def test_a_quantity_is_a_multiple_of_the_lot() -> None:
    found = refused(order(instrument=CALL, quantity=100))
    assert found == Denial(
        DenialRule.LOT_SIZE, "quantity 100 is not a multiple of the lot size 75", limit="75", value="100"
    )


@pytest.mark.parametrize(
    ("order_type", "price", "trigger"),
    [
        (OrderType.LIMIT, None, None),
        (OrderType.LIMIT, Decimal("800.03"), None),
        (OrderType.LIMIT, Decimal(0), None),
        (OrderType.LIMIT, Decimal(-5), None),
        (OrderType.SL, Decimal(800), None),
        (OrderType.SL, None, Decimal(800)),
        (OrderType.SL, Decimal(800), Decimal("800.01")),
        (OrderType.SL_M, None, None),
        (OrderType.SL_M, None, Decimal("799.99")),
    ],
)
def test_each_order_type_has_its_prices_and_they_are_on_the_tick(
    order_type: OrderType, price: Decimal | None, trigger: Decimal | None
) -> None:
    assert refused(order(order_type=order_type, price=price, trigger_price=trigger)).rule is DenialRule.TICK_SIZE


def test_a_freeze_of_600_with_a_lot_of_35_means_595() -> None:
    rich = replace(RICH, opening_balance=Decimal(10**8))
    future = {"instrument": FUTURE, "price": Decimal(24000)}
    assert denial(check(order(**future, quantity=595), account=rich)) is None
    found = refused(order(**future, quantity=630), account=rich)
    assert (found.rule, found.limit, found.value) == (DenialRule.FREEZE_QUANTITY, "595", "630")


@pytest.mark.parametrize(("price", "inside"), [("720", True), ("880", True), ("719.95", False), ("880.05", False)])
def test_a_price_stays_within_its_band(price: str, inside: bool) -> None:
    found = denial(check(order(price=Decimal(price))))
    assert (found is None) is inside
    if found:
        assert (found.rule, found.limit) == (DenialRule.PRICE_BAND, "720 to 880")


def test_a_trigger_stays_within_the_band_too() -> None:
    request = order(order_type=OrderType.SL_M, price=None, trigger_price=Decimal(900))
    assert refused(request).rule is DenialRule.PRICE_BAND


def test_a_market_order_needs_a_price() -> None:
    request = order(order_type=OrderType.MARKET, price=None)
    assert denial(check(request)) is None
    assert refused(request, price=None).rule is DenialRule.NO_REFERENCE_PRICE


def test_a_market_order_needs_a_fresh_price_and_hears_its_age() -> None:
    request = order(order_type=OrderType.MARKET, price=None)
    found = refused(request, now=NOW + timedelta(seconds=15.5))
    assert (found.limit, found.value) == ("15 s", "15.5 s")
    assert denial(check(request, now=NOW + timedelta(seconds=15))) is None


def test_a_zero_price_is_no_price() -> None:
    request = order(order_type=OrderType.MARKET, price=None)
    assert refused(request, price=Price.quoted(quote(SBIN, 0.0))).rule is DenialRule.NO_REFERENCE_PRICE


def test_the_same_order_within_the_window_is_denied() -> None:
    guarded: dict[str, Any] = {"limits": (limit(identical_order_window_s=10),)}
    found = refused(order(), **guarded, last_identical=NOW - timedelta(seconds=4))
    assert (found.rule, found.limit, found.value) == (DenialRule.IDENTICAL_ORDER, "10 s", "4.0 s")
    assert denial(check(order(), **guarded, last_identical=NOW - timedelta(seconds=10))) is None
    assert denial(check(order(), **guarded)) is None


def test_an_order_cleared_in_the_future_of_a_clock_set_back_denies_none() -> None:
    """Another instance's clock may be ahead by little: within the window it is the same order all the same."""
    guarded: dict[str, Any] = {"limits": (limit(identical_order_window_s=10),)}
    assert denial(check(order(), **guarded, last_identical=NOW + timedelta(hours=1))) is None
    found = refused(order(), **guarded, last_identical=NOW + timedelta(seconds=2))
    assert found.rule is DenialRule.IDENTICAL_ORDER


def test_the_same_order_again_is_no_matter_unless_configured() -> None:
    assert denial(check(order(), last_identical=NOW)) is None


def test_an_order_above_the_max_value_is_denied_in_indian_figures() -> None:
    found = refused(order(quantity=150), limits=(limit(max_order_value=Decimal(100_000)),))
    assert found.rule is DenialRule.MAX_ORDER_VALUE
    assert found.reason == "order value 1,20,000 exceeds max order value 1,00,000"
    assert (found.limit, found.value) == ("100000", "120000")


def test_the_smallest_of_several_limits_decides() -> None:
    limits = (limit(max_order_value=Decimal(9000)), limit(max_order_value=Decimal(7000)))
    assert refused(order(), limits=limits).limit == "7000"


def test_a_market_order_is_valued_at_the_last_price() -> None:
    request = order(order_type=OrderType.MARKET, price=None, quantity=20)
    assert refused(request, limits=(limit(max_order_value=Decimal(15999)),)).value == "16000"


def test_a_new_position_over_the_maximum_is_denied_but_adding_to_one_is_not() -> None:
    two = limit(max_open_positions=2)
    full: dict[str, Any] = {"limits": (two,), "open_positions": {two.limit_id: 2}}
    found = refused(order(), **full)
    assert (found.rule, found.limit, found.value) == (DenialRule.MAX_OPEN_POSITIONS, "2", "2")
    assert denial(check(order(), net=held(5), **full)) is None
    assert denial(check(order(), limits=(two,), open_positions={two.limit_id: 1})) is None


def test_openalgo_1052_after_the_daily_loss_only_exits_go_through() -> None:
    lost = (limit(max_daily_loss=Decimal(5000), lost_on=TODAY),)
    found = refused(order(), limits=lost)
    assert (found.rule, found.limit) == (DenialRule.DAILY_LOSS, "5000")
    assert denial(check(order(side=Side.SELL), net=held(10), limits=lost)) is None


def test_yesterdays_daily_loss_is_forgotten() -> None:
    lost = (limit(max_daily_loss=Decimal(5000), lost_on=date(2026, 11, 23)),)
    assert denial(check(order(), limits=lost)) is None


def test_an_order_beyond_the_available_margin_is_denied() -> None:
    found = refused(order(), account=replace(RICH, order_margin=Decimal(98_500)))
    assert found.reason == "margin 1,600 exceeds available margin 1,500"
    assert (found.rule, found.limit, found.value) == (DenialRule.MARGIN, "1500", "1600")


def test_realised_profit_is_available_for_margin_and_loss_is_not() -> None:
    poor = replace(RICH, opening_balance=Decimal(1500))
    assert refused(order(), account=poor).rule is DenialRule.MARGIN
    assert denial(check(order(), account=replace(poor, realised_pnl=Decimal(100)))) is None
    assert refused(order(), account=replace(RICH, realised_pnl=Decimal(-98_500))).rule is DenialRule.MARGIN


@pytest.mark.parametrize(
    ("terms", "margin"),
    [
        ({"product": Product.CNC}, "8000"),
        ({"product": Product.MIS}, "1600"),
        ({"instrument": FUTURE, "quantity": 35, "price": Decimal(24000), "product": Product.NRML}, "100800"),
        ({"instrument": FUTURE, "quantity": 35, "price": Decimal(24000), "product": Product.MIS}, "50400"),
        ({"instrument": CALL, "quantity": 75, "price": Decimal(100), "product": Product.NRML}, "7500"),
        ({"instrument": CALL, "quantity": 75, "price": Decimal(100), "side": Side.SELL}, "108045"),
        (
            {"instrument": CALL, "quantity": 75, "price": Decimal(100), "side": Side.SELL, "product": Product.NRML},
            "216090",
        ),
        ({"order_type": OrderType.MARKET, "price": None}, "1600"),
        ({"order_type": OrderType.SL_M, "price": None, "trigger_price": Decimal(850)}, "1700"),
    ],
)
def test_margin_by_kind_product_and_side(terms: dict[str, Any], margin: str) -> None:
    assert check(order(**terms)).margin == Decimal(margin)


def test_a_sold_option_is_margined_on_its_strike_while_no_spot_price_is_known() -> None:
    request = order(instrument=CALL, quantity=75, price=Decimal(100), side=Side.SELL)
    assert check(request, spot=None).margin == Decimal(75 * 24000) * Decimal("0.06")


def test_a_reducing_order_blocks_nothing_and_no_limit_stops_it() -> None:
    """hummingbot_2012: an exit must not fail for want of funds."""
    strict = (limit(max_order_value=Decimal(1), max_daily_loss=Decimal(1), lost_on=TODAY, identical_order_window_s=9),)
    broke = replace(RICH, opening_balance=Decimal(0))
    facts: dict[str, Any] = {"net": held(10), "limits": strict, "account": broke, "last_identical": NOW}
    reducing = check(order(side=Side.SELL), **facts)
    assert denial(reducing) is None
    assert reducing.margin == 0


def test_an_account_that_owes_margin_may_still_reduce() -> None:
    owing = replace(RICH, opening_balance=Decimal(0), position_margin=Decimal(5000))
    assert denial(check(order(side=Side.SELL), net=held(10), account=owing)) is None


def test_a_reducing_order_must_still_be_correct() -> None:
    assert refused(order(side=Side.SELL, price=Decimal("800.01")), net=held(10)).rule is DenialRule.TICK_SIZE


def test_an_order_through_zero_blocks_margin_for_what_it_opens() -> None:
    through = check(order(side=Side.SELL, quantity=25), net=held(10))
    assert (through.reducing, through.margin) == (10, Decimal("2400.00"))


def test_what_a_pending_exit_closes_another_cannot_close_again() -> None:
    second = check(order(side=Side.SELL), net=held(10, pending_sell=10))
    assert (second.reducing, second.margin) == (0, Decimal("1600.00"))


def test_two_exits_never_flip_a_position() -> None:
    exit_order = order(side=Side.SELL, purpose=OrderPurpose.EXIT)
    assert denial(check(exit_order, net=held(10))) is None
    found = refused(exit_order, net=held(10, pending_sell=4))
    assert found.rule is DenialRule.NOT_REDUCING
    assert found.reason == "exit of 10 exceeds the 6 that is open and not being closed already"


def test_openalgo_1694_a_strategy_may_close_its_own_book_when_the_account_is_flat() -> None:
    request = order(side=Side.SELL, purpose=OrderPurpose.EXIT, strategy_id=STRATEGY)
    book = replace(held(10), strategy_id=STRATEGY)
    closing = check(request, net=held(0), book=book, limits=(limit(max_order_value=Decimal(1)),))
    assert denial(closing) is None
    assert closing.margin == Decimal("1600.00"), "the account's net position grows, so it is margined"
    assert refused(request, net=held(0), book=replace(book, pending_sell=1)).rule is DenialRule.NOT_REDUCING


def test_a_square_off_passes_halts_limits_and_margin() -> None:
    request = order(purpose=OrderPurpose.SQUARE_OFF, order_type=OrderType.MARKET, price=None)
    facts: dict[str, Any] = {
        "halts": (Halt("ALL", 1, halted=True),),
        "limits": (limit(max_order_value=Decimal(1), max_daily_loss=Decimal(1), lost_on=TODAY),),
        "account": replace(RICH, active=False, opening_balance=Decimal(0)),
        "price": None,
        "now": NOW + timedelta(hours=1),
    }
    assert denial(check(request, **facts)) is None


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"instrument": "NSE:NOSUCH"}, DenialRule.INSTRUMENT_UNKNOWN),
        ({"quantity": 100}, DenialRule.LOT_SIZE),
        ({"price": Decimal("100.01")}, DenialRule.TICK_SIZE),
        ({"quantity": 1875}, DenialRule.FREEZE_QUANTITY),
    ],
)
def test_a_square_off_is_never_wrong(terms: dict[str, Any], rule: DenialRule) -> None:
    facts = {"instrument": CALL, "quantity": 75, "price": Decimal(100), **terms}
    assert refused(order(purpose=OrderPurpose.SQUARE_OFF, **facts)).rule is rule


def test_a_denial_carries_the_whole_order() -> None:
    request = order(quantity=0)
    event = decide(request, check(request))
    assert isinstance(event, OrderDenied)
    assert (event.order_id, event.quantity, event.instrument) == (request.order_id, 0, SBIN)


def test_limits_concern_only_their_scope() -> None:
    request = order(strategy_id=STRATEGY)
    mine: list[dict[str, Any]] = [
        {},
        {"level": RiskLevel.ACCOUNT, "account_id": ACCOUNT},
        {"level": RiskLevel.STRATEGY, "strategy_id": STRATEGY},
        {"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "instrument": SBIN},
    ]
    others: list[dict[str, Any]] = [
        {"level": RiskLevel.ACCOUNT, "account_id": OTHER_ACCOUNT},
        {"level": RiskLevel.STRATEGY, "strategy_id": OTHER_ACCOUNT},
        {"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "instrument": INFY},
        {"level": RiskLevel.INSTRUMENT, "account_id": OTHER_ACCOUNT, "instrument": SBIN},
    ]
    assert all(limit(**scope).concerns(request) for scope in mine)
    assert not any(limit(**scope).concerns(request) for scope in others)
    assert not replace(limit(), user_id=STRANGER).concerns(request)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"),
        ("999", "999"),
        ("1000", "1,000"),
        ("120000", "1,20,000"),
        ("12345678.5", "1,23,45,678.50"),
        ("-1234.05", "-1,234.05"),
    ],
)
def test_rupees_read_as_in_india(amount: str, text: str) -> None:
    assert rupees(Decimal(amount)) == text
