"""Delivery sells what is held: no broker lets CNC be sold short."""

from libs.common.contracts.enums import Broker, DenialRule, OrderPurpose, OrderStatus, Product, Side
from libs.common.contracts.orders import OrderCancelled, OrderCleared, OrderDenied, OrderRequested
from tests.services.risk.scene import OTHER_ACCOUNT, Scene, account_saved, fact, order, position, state
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
