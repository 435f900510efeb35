"""What became of an order that its broker never answered for, told by hand."""

from uuid import UUID

from fastapi import Request, Response

from libs.common.contracts.orders import OrderSettled, OrderSettleRequested
from libs.common.problems import Problem
from services.gateway.api import models
from services.gateway.api.commands import pending_request
from services.gateway.api.edge import Json, Router, TheEdge, Trader
from services.gateway.api.orders import status_url, visible_order

router = Router(prefix="/trading/orders", tags=["orders"])


@router.post("/settle", response_model=models.SettledOrder, responses={**models.PROBLEMS, **models.TAKEN})
async def settle(body: models.SettleOrder, request: Request, identity: Trader, edge: TheEdge) -> Response:
    """Tell what became of an order whose outcome is unknown, once its day is over: its owner, or an admin, who logged
    in. It is kept who said so and why; position, funds and reservations follow as if the broker had told.
    """
    if identity.by_key:
        raise Problem(403, "forbidden", "an order is settled by a person who logged in, not with an API key")

    async def run(request_id: UUID, again: bool) -> Response:
        row = await visible_order(edge, identity, body.order_id)
        wish = OrderSettleRequested(**body.model_dump(), account_id=row["account_id"], user_id=identity.user_id)
        done = await edge.commands.ask(wish, request_id, OrderSettled, identity=identity, again=again)
        return _settled(done) if isinstance(done, OrderSettled) else pending_request(request_id)

    return await edge.commands.once(request, identity, run)


def _settled(done: OrderSettled) -> Response:
    return Json(
        {
            "order_id": done.order_id,
            "outcome": done.outcome,
            "quantity": done.traded_quantity,
            "price": done.traded_price,
            "settled_by": done.settled_by,
            "reason": done.reason,
            "status_url": status_url(done.order_id),
        }
    )
