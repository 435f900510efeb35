"""Orders: place, modify, cancel; the book."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.enums import Exchange, OrderPurpose, OrderStatus
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, StrategyId
from libs.common.contracts.orders import (
    OrderCancelled,
    OrderCancelRefused,
    OrderCancelRequested,
    OrderModified,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderRequested,
    OrdersCancelRequested,
    OrdersCancelStarted,
)
from libs.common.problems import UNAVAILABLE, Problem, away
from libs.common.telemetry import log
from services.gateway.api import models
from services.gateway.api.bodies import check_fields, check_length
from services.gateway.api.commands import pending
from services.gateway.api.edge import (
    ANYBODY_KNOWN,
    BookReader,
    Edge,
    Json,
    Leaver,
    Reader,
    Router,
    TheEdge,
    edge_of,
    no_such,
)
from services.gateway.api.paging import From, Limit, PageCursor, To, aware, page, read_cursor
from services.gateway.domain import roles, views
from services.gateway.domain.answers import OPEN, status_code
from services.gateway.domain.roles import Identity
from services.gateway.domain.symbols import instrument_of, one_instrument
from services.gateway.store import entities, queries
from services.gateway.store.entities import Kind
from services.gateway.store.queries import Filter
from services.gateway.store.rows import Row

router = Router(prefix="/trading/orders", tags=["orders"])
PLACE = router.prefix + "/place"

_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}
_BODY["requestBody"]["content"] = {
    "application/json": {"schema": models.PlaceOrder.model_json_schema(ref_template="#/components/schemas/{model}")}
}
_OVERLOADED = "more orders are on their way than can be decided quickly; this request was not carried out, try again"
_STARTED: dict[int | str, dict[str, object]] = {
    202: {"model": models.Cancelling, "description": "Some did not answer in time: their cancels will be sent"}
}
_REFUSED: dict[int | str, dict[str, object]] = {422: {"model": models.OrderProblem}}


async def refuses_to_place(edge: Edge, request: Request) -> Response | None:
    """A new order while too many are on their way, or Kafka is away; None for what `place` is to answer."""
    try:
        identity = await edge.identify_trader(request)
        check_length(await request.body())
        body = models.PlaceOrder.model_validate_json(await request.body())
        if edge.runtime.sends_nothing:
            return None if await edge.commands.is_kept(request, identity) else away().response()
    except (Problem, ValidationError, *UNAVAILABLE):
        return None
    if not _is_too_many(edge, identity, request, body):
        return None
    edge.memory.admission.refused += 1
    return overloaded().response()


def overloaded() -> Problem:
    return Problem(503, "overloaded", _OVERLOADED, headers={"Retry-After": "1"})


def _is_too_many(edge: Edge, identity: Identity, request: Request, body: models.PlaceOrder) -> bool:
    """Neither the repetition of what was taken, nor of somebody who has his share of the place yet; nor an exit, but of
    somebody who has very many under way.
    """
    if edge.commands.is_repeated(request, identity):
        return False
    admission = edge.memory.admission
    may_enter = admission.lets_out if _is_exit(body) else admission.has_share
    return not may_enter(identity.user_id)


def _is_exit(body: models.PlaceOrder) -> bool:
    return body.purpose is not OrderPurpose.ENTRY


@router.post(
    "/place",
    status_code=201,
    response_model=models.OrderView,
    responses={**models.PROBLEMS, **models.TAKEN, **_REFUSED},
    openapi_extra={**_BODY, "security": ANYBODY_KNOWN},
)
async def place(request: Request) -> Response:
    """Answers once the order is accepted, or refused: 201, or 422 with the rule, the limit and the value.

    The order is in the book either way. Past two seconds the answer is 202. The body is read by hand: this is the
    road that has to be fast. 503 `overloaded` when too many orders are on their way: exits are taken all the same, up
    to 64 of yours at once, and so is what repeats an Idempotency-Key that was taken here: it hears what became of the
    first.
    """
    edge = edge_of(request)
    identity = await edge.identify_trader(request)
    body = await _read(request)

    async def run(order_id: UUID, again: bool) -> Response:
        await edge.own_account(identity, body.account_id)
        if body.strategy_id is not None:
            await edge.own_strategy(identity, body.strategy_id)
        order = _order(body, order_id, identity, edge)
        return _placed(await edge.commands.place(order, again=again))

    admission = edge.memory.admission
    if not admission.takes() and _is_too_many(edge, identity, request, body):
        admission.refused += 1
        raise overloaded()
    began = stopwatch()
    admission.begin(identity.user_id, is_exit=_is_exit(body))
    edge.commands.let_in(request, identity)
    try:
        return await edge.commands.once(request, identity, run)
    finally:
        now = stopwatch()
        admission.end(identity.user_id, now - began, now, is_exit=_is_exit(body))


@router.post("/modify", response_model=models.OrderView, responses={**models.PROBLEMS, **models.TAKEN})
async def modify(body: models.ModifyOrder, request: Request, identity: Leaver, edge: TheEdge) -> Response:
    """Change an open order. Refused: 422 by one of our rules, 409 because the order is no longer open."""

    async def run(request_id: UUID, again: bool) -> Response:
        row = await _own_order(edge, identity, body.order_id, must_be_open=not again)
        wish = OrderModifyRequested(
            **body.model_dump(),
            account_id=row["account_id"],
            user_id=identity.user_id,
            expires_at=edge.runtime.clock.now() + timedelta(seconds=edge.settings.order_life_s),
        )
        ends = (OrderModified, OrderModifyRefused)
        match await edge.commands.ask(wish, request_id, *ends, identity=identity, again=again):
            case OrderModifyRefused() as no:
                raise Problem(
                    422 if no.rule else 409,
                    "modify_refused",
                    no.reason,
                    order_id=body.order_id,
                    rule=no.rule,
                    limit=no.limit,
                    value=no.value,
                )
            case None:
                return pending(request_id, status_url(body.order_id))
            case _:
                return await _done(edge, body.order_id, request_id)

    return await edge.commands.once(request, identity, run)


@router.post("/cancel", response_model=models.OrderView, responses={**models.PROBLEMS, **models.TAKEN})
async def cancel(body: models.CancelOrder, request: Request, identity: Leaver, edge: TheEdge) -> Response:
    """409 when it is too late."""

    async def run(request_id: UUID, again: bool) -> Response:
        row = await _own_order(edge, identity, body.order_id, must_be_open=not again)
        wish = OrderCancelRequested(
            order_id=OrderId(body.order_id), account_id=row["account_id"], user_id=identity.user_id
        )
        ends = (OrderCancelled, OrderCancelRefused)
        match await edge.commands.ask(wish, request_id, *ends, identity=identity, again=again):
            case OrderCancelRefused(reason=reason):
                raise Problem(409, "cancel_refused", reason, order_id=body.order_id)
            case None:
                return pending(request_id, status_url(body.order_id))
            case _:
                return await _done(edge, body.order_id, request_id)

    return await edge.commands.once(request, identity, run)


@router.post("/cancel-all", response_model=models.Cancelling, responses={**models.PROBLEMS, **_STARTED})
async def cancel_all(body: models.CancelAll, request: Request, identity: Leaver, edge: TheEdge) -> Response:
    """Cancels are sent for these orders, and for all others where an account has more than 10,000; each order's own
    state tells how it ended. `pending` accounts did not answer in time: their cancels will be sent.
    """
    instrument = instrument_of(body.instrument) if body.instrument else None
    if body.instrument and instrument is None:
        raise Problem(422, "invalid", "instrument: write NSE:SBIN")

    async def one(account_id: UUID, request_id: UUID, again: bool) -> OrdersCancelStarted | None:
        wish = OrdersCancelRequested(
            account_id=account_id, user_id=identity.user_id, strategy_id=body.strategy_id, instrument=instrument
        )
        own_id = ids.derive(request_id, account_id)
        found = await edge.commands.ask(wish, own_id, OrdersCancelStarted, identity=identity, again=again)
        return found if isinstance(found, OrdersCancelStarted) else None

    async def run(request_id: UUID, again: bool) -> Response:
        accounts = meant(edge, await own_accounts(edge, identity, body.account_id), request_id, again=again)
        async with edge.memory.turns.turn_in_accounts(identity, len(accounts)):
            found = await asyncio.gather(*(one(account_id, request_id, again) for account_id in accounts))
        waiting = [account for account, started in zip(accounts, found, strict=True) if started is None]
        order_ids = [order_id for started in found if started for order_id in started.order_ids]
        return Json({"order_ids": order_ids, "pending": waiting}, 202 if waiting else 200)

    return await edge.commands.once(request, identity, run)


@router.get("/", response_model=models.Page[models.OrderView], responses=models.PROBLEMS)
async def book(
    identity: BookReader,
    edge: TheEdge,
    account_id: UUID | None = None,
    user_id: Annotated[UUID | None, Query(description="For admins: another's book")] = None,
    strategy_id: UUID | None = None,
    status: Annotated[list[OrderStatus] | None, Query(description="May be repeated")] = None,
    open: Annotated[bool | None, Query(description="True: only orders that may still trade")] = None,
    instrument: str | None = None,
    symbol: str | None = None,
    exchange: Exchange | None = None,
    since: From = None,
    until: To = None,
    limit: Limit = 50,
    cursor: PageCursor = None,
) -> Response:
    """The newest first."""
    fitting = set(status or OrderStatus) & (OPEN if open else set(OrderStatus))
    whose = await narrowed(edge, identity, account_id, user_id, instrument, symbol, exchange)
    wanted = replace(
        whose,
        strategy_id=strategy_id,
        statuses=sorted(fitting) if status or open else None,
        since=aware(since),
        until=aware(until),
    )
    rows = await queries.orders_page(edge.runtime.pool, wanted, read_cursor(cursor), limit + 1)
    return Json(page(rows, limit, views.order, "requested_at", "order_id"))


@router.get("/{order_id}", response_model=models.OrderView, responses=models.PROBLEMS)
async def order(order_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    return Json(views.order(await visible_order(edge, identity, order_id)))


@router.get("/{order_id}/status", response_model=models.OrderHistory, responses=models.PROBLEMS)
async def status(order_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    """The order's state and every event that led to it; of more than some hundred the newest."""
    row = await visible_order(edge, identity, order_id)
    names = ("order_id", "status", "filled_quantity", "average_price", "reason")
    return Json(
        {
            **views.in_rupees({name: row[name] for name in names}),
            "is_final": OrderStatus(row["status"]).is_final,
            "history": await queries.order_history(edge.runtime.pool, order_id),
        }
    )


async def own_accounts(edge: Edge, identity: Identity, account_id: UUID | None) -> list[UUID]:
    """The account that is named, if it is the caller's, or all of his."""
    if account_id is not None:
        return [await edge.own_account(identity, account_id)]
    rows = await entities.of_user(edge.runtime.pool, Kind.ACCOUNT, identity.user_id)
    return [UUID(row["account_id"]) for row in rows]


def meant(edge: Edge, accounts: list[UUID], request_id: UUID, *, again: bool) -> list[UUID]:
    """Of a request that is repeated those that there were when it was asked for, as their ids tell. One of the future
    is of a clock that was wrong, and tells nothing.
    """
    now = edge.runtime.clock.now().timestamp()
    return [each for each in accounts if not (again and request_id < each and ids.unix_time(each) <= now)]


async def narrowed(
    edge: Edge,
    identity: Identity,
    account_id: UUID | None,
    user_id: UUID | None,
    instrument: str | None,
    symbol: str | None,
    exchange: Exchange | None,
) -> Filter:
    """Whose rows and of which instrument; an account that the caller may see stands for its owner."""
    of = None
    if instrument or symbol or exchange:
        try:
            of = one_instrument(instrument, symbol, exchange)
        except ValueError as error:
            raise Problem(422, "invalid", str(error)) from error
    owner, account = await edge.books_of(identity, user_id, account_id)
    return Filter(user_id=owner, account_id=account, instrument=of)


async def _read(request: Request) -> models.PlaceOrder:
    text = await request.body()
    check_length(text)
    check_fields(text)
    try:
        return models.PlaceOrder.model_validate_json(text)
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from error


def _order(body: models.PlaceOrder, order_id: UUID, identity: Identity, edge: Edge) -> OrderRequested:
    now = edge.runtime.clock.now()
    return OrderRequested(
        order_id=OrderId(order_id),
        account_id=AccountId(body.account_id),
        user_id=identity.user_id,
        strategy_id=StrategyId(body.strategy_id) if body.strategy_id else None,
        instrument=InstrumentId(body.instrument or ""),
        side=body.side,
        quantity=body.quantity,
        order_type=body.order_type,
        product=body.product,
        validity=body.validity,
        price=body.price,
        trigger_price=body.trigger_price,
        purpose=body.purpose,
        square_off_id=None,
        requested_at=now,
        expires_at=now + timedelta(seconds=edge.settings.order_life_s),
        epoch=0,
    )


def _placed(row: Row) -> Response:
    status = status_code(row["status"])
    if status == 202:
        return pending(row["order_id"], status_url(row["order_id"]))
    if status == 422:
        denied = row["status"] == OrderStatus.DENIED
        extra = {"order_id": row["order_id"]}
        if denied:
            extra |= {"rule": row["rule"], "limit": row["limit_text"], "value": row["value_text"]}
        raise Problem(422, "order_denied" if denied else "order_rejected", row["reason"] or row["status"], **extra)
    return Json(views.order(row), 201)


def status_url(order_id: UUID) -> str:
    return f"/api/v2/trading/orders/{order_id}/status"


async def _done(edge: Edge, order_id: UUID, request_id: UUID) -> Response:
    """The order that was changed, as it is now. It was, also where that cannot be read any more."""
    try:
        return Json(views.order(await queries.order(edge.runtime.pool, order_id) or {}))
    except UNAVAILABLE as error:
        log.warning("order_not_shown", order_id=str(order_id), error=repr(error))
        return pending(request_id, status_url(order_id))


async def visible_order(edge: Edge, identity: Identity, order_id: UUID) -> Row:
    row = await queries.order(edge.runtime.pool, order_id)
    if row is None or not roles.may_see(identity, row["user_id"]):
        raise no_such("order", order_id)
    return row


async def _own_order(edge: Edge, identity: Identity, order_id: UUID, *, must_be_open: bool) -> Row:
    row = await queries.order(edge.runtime.pool, order_id)
    if row is None or row["user_id"] != identity.user_id:
        raise no_such("order", order_id)
    if must_be_open and OrderStatus(row["status"]).is_final:
        raise Problem(409, "order_not_open", f"the order is {row['status']}", order_id=order_id)
    return row
