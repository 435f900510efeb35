"""Limits, exposure, violations, panics."""

from collections import defaultdict
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from libs.common.contracts.enums import RiskLevel
from libs.common.contracts.ids import PanicId, RiskLimitId
from libs.common.contracts.risk import (
    PanicRaised,
    PanicRequested,
    PanicReset,
    PanicResetRequested,
    RiskLimit,
    RiskLimitDeleted,
    RiskLimitDeleteRequested,
    RiskLimitSaved,
    RiskLimitSaveRequested,
)
from libs.common.problems import Problem
from services.gateway.api import models
from services.gateway.api.commands import pending_request
from services.gateway.api.edge import BookReader, Edge, Json, Leaver, Reader, Router, TheEdge, Trader, admin, no_such
from services.gateway.api.owned import Owned, shown
from services.gateway.api.paging import Limit, PageCursor, page, read_cursor
from services.gateway.domain import roles, views
from services.gateway.domain.roles import Identity
from services.gateway.domain.valuation import Exposure, exposure
from services.gateway.store import instruments, queries
from services.gateway.store.entities import Kind
from services.gateway.store.rows import Row, each_of

router = Router(prefix="/risk", tags=["risk"])
_ANSWERS = {**models.PROBLEMS, **models.TAKEN}
_LIMITS = Owned(Kind.RISK_LIMIT, RiskLimitSaved, RiskLimitDeleted)


@router.get("/limits/", response_model=models.Listing[models.RiskLimitView], responses=models.PROBLEMS)
async def limits(identity: Reader, edge: TheEdge, user_id: UUID | None = None) -> Response:
    return await _LIMITS.of_user(edge, identity, user_id)


@router.post("/limits/", status_code=201, response_model=models.RiskLimitView, responses=_ANSWERS)
async def create_limit(body: models.RiskLimitBody, request: Request, identity: Trader, edge: TheEdge) -> Response:

    async def run(request_id: UUID, again: bool) -> Response:
        await _check_scope(edge, identity, body)
        limit = RiskLimit(limit_id=RiskLimitId(request_id), user_id=identity.user_id, **body.model_dump())
        return await _save(edge, identity, request_id, limit, 0, again=again, status=201)

    return await edge.commands.once(request, identity, run)


@router.get("/limits/{limit_id}", response_model=models.RiskLimitView, responses=models.PROBLEMS)
async def limit_of(limit_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    return Json(await _LIMITS.visible(edge, identity, limit_id))


@router.put("/limits/{limit_id}", response_model=models.RiskLimitView, responses=_ANSWERS)
async def change_limit(
    limit_id: UUID, body: models.RiskLimitBody, request: Request, identity: Trader, edge: TheEdge
) -> Response:
    """Replaces the limit whole."""
    limit = RiskLimit(limit_id=RiskLimitId(limit_id), user_id=identity.user_id, **body.model_dump())

    async def run(request_id: UUID, again: bool) -> Response:
        stored = await _LIMITS.own(edge, identity, limit_id)
        await _check_scope(edge, identity, body)
        return await _save(edge, identity, request_id, limit, stored["version"], again=again)

    return await edge.commands.once(request, identity, run)


@router.delete("/limits/{limit_id}", status_code=204, responses=_ANSWERS)
async def delete_limit(limit_id: UUID, request: Request, identity: Trader, edge: TheEdge) -> Response:
    wish = RiskLimitDeleteRequested(limit_id=RiskLimitId(limit_id), user_id=identity.user_id)
    return await _LIMITS.delete(edge, identity, request, limit_id, wish)


@router.get("/exposure/", response_model=models.Listing[models.ExposureView], responses=models.PROBLEMS)
async def exposures(identity: Reader, edge: TheEdge, user_id: UUID | None = None) -> Response:
    """What each account has at stake at the last prices."""
    owner = edge.whose(identity, user_id)
    grouped: dict[object, list[Row]] = defaultdict(list)
    for row in await queries.positions(edge.runtime.pool, owner):
        grouped[row["account_id"]].append(row)
    funds = {row["account_id"]: row for row in await queries.funds(edge.runtime.pool, owner)}
    accounts = sorted({*grouped, *funds}, key=str)
    return Json({"data": await each_of(accounts, lambda each: _exposure(edge, each, grouped[each], funds.get(each)))})


@router.get("/exposure/{account_id}", response_model=models.ExposureView, responses=models.PROBLEMS)
async def account_exposure(account_id: UUID, identity: Reader, edge: TheEdge) -> Response:
    await edge.visible_account(identity, account_id)
    rows = await queries.positions(edge.runtime.pool, None, account_id)
    funds = await queries.funds(edge.runtime.pool, None, account_id)
    return Json(_exposure(edge, account_id, rows, funds[0] if funds else None))


@router.get("/violations/", response_model=models.Page[models.ViolationView], responses=models.PROBLEMS)
async def violations(
    identity: BookReader,
    edge: TheEdge,
    account_id: UUID | None = None,
    user_id: UUID | None = None,
    limit: Limit = 50,
    cursor: PageCursor = None,
) -> Response:
    """Denied orders, broken limits, algos that lost a leg or could not close, expired positions that could not be
    settled; the newest first.
    """
    owner, account = await edge.books_of(identity, user_id, account_id)
    rows = await queries.violations(edge.runtime.pool, owner, account, read_cursor(cursor), limit + 1)
    return Json(page(rows, limit, views.risk_event, "at", "event_id"))


@router.get("/panic/", responses=models.PROBLEMS)
async def panics(identity: Reader, edge: TheEdge) -> Response:
    """The panics in force that concern you; for admins all."""
    pool, user_id = edge.runtime.pool, identity.user_id
    return Json({"data": await queries.panics_in_force(pool, None if identity.role.is_admin else user_id)})


async def _global(identity: Leaver) -> tuple[str, RiskLevel]:
    await admin(identity)
    return "ALL", RiskLevel.ALL


async def _user(identity: Leaver) -> tuple[str, RiskLevel]:
    return f"USER:{identity.user_id}", RiskLevel.USER


async def _account(account_id: UUID, identity: Leaver, edge: TheEdge) -> tuple[str, RiskLevel]:
    await edge.visible_account(identity, account_id)
    return f"ACCOUNT:{account_id}", RiskLevel.ACCOUNT


async def _strategy(strategy_id: UUID, identity: Leaver, edge: TheEdge) -> tuple[str, RiskLevel]:
    owner = await edge.ever_owner(Kind.ALGO, strategy_id)
    if owner is None or not roles.may_see(identity, owner):
        raise no_such("strategy", strategy_id)
    return f"STRATEGY:{strategy_id}", RiskLevel.STRATEGY


_SCOPES = {
    "global": (_global, "Stop everybody: needs admin."),
    "user": (_user, "Stop everything of yours."),
    "account/{account_id}": (_account, "Stop an account."),
    "strategy/{strategy_id}": (_strategy, "Stop a strategy."),
}


async def _panic(
    edge: Edge, identity: Identity, request: Request, scope: tuple[str, RiskLevel], reason: str | None
) -> Response:
    """Raise a panic, or with no reason reset it."""

    async def run(request_id: UUID, again: bool) -> Response:
        common = {
            "panic_id": PanicId(request_id),
            "scope": scope[0],
            "level": scope[1],
            "requested_by": identity.user_id,
            "by_admin": identity.role.is_admin,
        }
        wish = PanicResetRequested(**common) if reason is None else PanicRequested(**common, reason=reason)
        ends = (PanicRaised, PanicReset)
        async with edge.memory.turns.turn_in_scope(identity, scope[0]):
            done = await edge.commands.ask(wish, request_id, *ends, identity=identity, again=again)
        match done:
            case PanicRaised() | PanicReset():
                in_force = isinstance(done, PanicRaised)
                shown = done.model_dump(mode="json", include={"scope", "level", "epoch", "panic_id"})
                return Json({**shown, "in_force": in_force})
            case _:
                return pending_request(request_id)

    return await edge.commands.once(request, identity, run)


def _panic_routes() -> None:
    """Raising and resetting, the same for every scope."""
    for path, (scope_of, words) in _SCOPES.items():
        Scope = Annotated[tuple[str, RiskLevel], Depends(scope_of)]  # noqa: N806 - a type

        async def raise_panic(
            request: Request,
            identity: Leaver,
            edge: TheEdge,
            scope: Scope,
            body: models.PanicBody | None = None,
        ) -> Response:
            return await _panic(edge, identity, request, scope, (body or models.PanicBody()).reason)

        async def reset_panic(request: Request, identity: Leaver, edge: TheEdge, scope: Scope) -> Response:
            return await _panic(edge, identity, request, scope, None)

        name = path.partition("/")[0]
        router.add_api_route(
            f"/panic/{path}",
            raise_panic,
            methods=["POST"],
            name=f"panic_{name}",
            description=f"{words} New orders are denied, pending ones cancelled, positions closed, until it is reset.",
            response_model=models.PanicView,
            responses=_ANSWERS,
        )
        router.add_api_route(
            f"/panic/{path}/reset",
            reset_panic,
            methods=["POST"],
            name=f"reset_panic_{name}",
            description="Take new orders again.",
            response_model=models.PanicView,
            responses=_ANSWERS,
        )


_panic_routes()


def _exposure(edge: Edge, account_id: object, rows: list[Row], funds: Row | None) -> dict[str, object]:
    prices = edge.last_prices()
    held: Exposure = exposure(views.holding(row, prices(row["instrument"])) for row in rows)
    return views.exposure(account_id, held, funds["used_margin"] if funds else held.used_margin)


async def _check_scope(edge: Edge, identity: Identity, body: models.RiskLimitBody) -> None:
    if body.account_id is not None:
        await edge.own_account(identity, body.account_id)
    if body.strategy_id is not None and await edge.owner(Kind.ALGO, body.strategy_id) != identity.user_id:
        raise no_such("strategy", body.strategy_id)
    if body.instrument is not None and not await instruments.known(edge.runtime.pool, [body.instrument]):
        detail = f"{body.instrument} is not in the contract master: a limit on it would guard nothing"
        raise Problem(404, "instrument_unknown", detail, instrument=body.instrument)


async def _save(
    edge: Edge, identity: Identity, request_id: UUID, limit: RiskLimit, expected: int, *, again: bool, status: int = 200
) -> Response:
    wish = RiskLimitSaveRequested(
        limit_id=limit.limit_id, user_id=identity.user_id, limit=limit, expected_version=expected
    )
    return await _LIMITS.save(
        edge, identity, request_id, wish, lambda done: shown(done.limit, done.version), again=again, status=status
    )
