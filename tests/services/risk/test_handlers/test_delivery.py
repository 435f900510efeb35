"""Delivery sells what is held: no broker lets CNC be sold short."""

from datetime import timedelta

from libs.common.contracts.enums import Broker, DenialRule, OrderPurpose, OrderStatus, Product, Series, Side
from libs.common.contracts.orders import OrderCancelled, OrderCleared, OrderDenied, OrderRequested
from tests.services.risk.scene import (
    CONTRACTS,
    OTHER_ACCOUNT,
    SBIN,
    Scene,
    account_saved,
    conflated,
    fact,
    order,
    position,
    quote,
    state,
)
from tests.services.risk.test_handlers.saying import change, cleared, rules


def sale(quantity: int, product: Product = Product.CNC, purpose: OrderPurpose = OrderPurpose.ENTRY) -> OrderRequested:
    return order(side=Side.SELL, quantity=quantity, product=product, purpose=purpose)


async def test_no_more_is_sold_in_delivery_than_is_held_and_not_being_sold_already(scene: Scene) -> None:
    await scene.tell(position(state(10, 800), product=Product.CNC))
    resting = sale(6)
    said = await scene.tell(resting, sale(5), sale(4))
    assert cleared(said) == [True, False, True]
    [denied] = [each for each in said if isinstance(each, OrderDenied)]
    assert (denied.rule, denied.limit, denied.value) == (DenialRule.NOT_HELD, "4", "5")
    await scene.tell(OrderCancelled(**fact(resting, OrderStatus.CANCELLED), reason="asked"))
    assert rules(await scene.tell(sale(7), sale(6))) == [DenialRule.NOT_HELD]


async def test_what_is_not_held_in_delivery_is_bought_first_or_sold_intraday(scene: Scene) -> None:
    assert rules(await scene.tell(sale(1))) == [DenialRule.NOT_HELD]
    await scene.tell(position(state(10, 800)))
    said = await scene.tell(sale(1), sale(20, Product.MIS), order(product=Product.CNC))
    assert cleared(said) == [False, True, True]


async def test_a_sale_is_not_made_larger_than_what_is_held(scene: Scene) -> None:
    await scene.tell(position(state(10, 800), product=Product.CNC))
    resting = sale(6)
    await scene.tell(resting)
    assert rules(await scene.tell(change(resting, quantity=11))) == [DenialRule.NOT_HELD]
    assert rules(await scene.tell(change(resting, quantity=10))) == []


async def test_a_square_off_is_not_asked(scene: Scene) -> None:
    """A strategy's own book is closed though somebody sold its shares past it."""
    assert cleared(await scene.tell(sale(1, purpose=OrderPurpose.SQUARE_OFF))) == [True]


async def test_what_is_held_at_a_broker_the_broker_knows(scene: Scene) -> None:
    saved = account_saved(OTHER_ACCOUNT)
    await scene.tell(saved.model_copy(update={"account": saved.account.model_copy(update={"broker": Broker.ZERODHA})}))
    [sold] = await scene.tell(sale(1_000_000).model_copy(update={"account_id": OTHER_ACCOUNT}))
    assert isinstance(sold, OrderCleared), "the shares were bought before their owner came here"
    assert sold.margin == sold.unit_margin == 0


async def test_what_is_bought_in_trade_for_trade_is_not_sold_on_its_day(scene: Scene) -> None:
    """It has to be delivered first: who sold it at once on paper traded as no broker lets anybody."""
    scene.memory.know([CONTRACTS[0].model_copy(update={"series": Series.BE})])
    await scene.tell(position(state(10, 800), product=Product.CNC))
    next_day(scene)
    bought = state(15, 800).model_copy(update={"bought_quantity": 5})
    await scene.tell(position(bought, product=Product.CNC, version=2))
    said = await scene.tell(now_asked(scene, sale(11, purpose=OrderPurpose.EXIT)), now_asked(scene, sale(10)))
    [denied] = [each for each in said if isinstance(each, OrderDenied)]
    assert (denied.rule, denied.limit, denied.value) == (DenialRule.NOT_HELD, "10", "11")
    assert "series BE" in denied.reason
    assert rules(await scene.tell(now_asked(scene, sale(1)))) == [DenialRule.NOT_HELD], "the ten are being sold"
    square_off = sale(5, purpose=OrderPurpose.SQUARE_OFF)
    assert cleared(await scene.tell(now_asked(scene, square_off))) == [True]


async def test_what_was_bought_in_trade_for_trade_is_sold_the_next_day(scene: Scene) -> None:
    scene.memory.know([CONTRACTS[0].model_copy(update={"series": Series.BE})])
    bought = state(5, 800).model_copy(update={"bought_quantity": 15, "sold_quantity": 10})
    await scene.tell(position(bought, product=Product.CNC))
    assert rules(await scene.tell(sale(1))) == [DenialRule.NOT_HELD], "the ten of before were sold already"
    next_day(scene)
    assert cleared(await scene.tell(now_asked(scene, sale(5)))) == [True]


def next_day(scene: Scene) -> None:
    scene.later(days=1)
    scene.memory.take([conflated(quote(SBIN, 800.0, scene.now, 800.0))])


def now_asked(scene: Scene, request: OrderRequested) -> OrderRequested:
    times = {"requested_at": scene.now, "expires_at": scene.now + timedelta(seconds=30)}
    return request.model_copy(update=times)
