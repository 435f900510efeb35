"""Corporate actions: splits, bonuses and dividends, by which history is adjusted when it is read."""

import csv
import io
from uuid import UUID

import orjson
from fastapi import Request, Response
from pydantic import TypeAdapter, ValidationError

from libs.common.contracts.enums import Exchange
from libs.common.contracts.masters import (
    CorporateActionsImported,
    CorporateActionsImportRequested,
    CorporateActionTerms,
)
from libs.common.problems import PROBLEM_JSON, Problem
from services.gateway.api import models
from services.gateway.api.bodies import check_fields
from services.gateway.api.commands import pending_request
from services.gateway.api.edge import Admin, Json, Reader, Router, TheEdge
from services.gateway.api.market import named_instrument
from services.gateway.api.models import contracts as views

router = Router(prefix="/market/corporate-actions", tags=["corporate actions"])
MOST = 2_000
_BODIES = TypeAdapter(list[views.CorporateActionBody])
_BODY = views.CorporateActionBody.model_json_schema(ref_template="#/components/schemas/{model}")
_DOCUMENTED = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "array", "items": _BODY}},
            "text/csv": {"example": "instrument,kind,ex_date,old,new,amount\nNSE:SBIN,split,2014-11-20,1,10,\n"},
        },
    }
}


@router.get("/{symbol}", response_model=views.CorporateActionsOf, responses=models.PROBLEMS)
async def actions(symbol: str, _: Reader, edge: TheEdge, exchange: Exchange | None = None) -> Response:
    instrument = named_instrument(symbol, exchange)
    path = f"/internal/contracts/corporate-actions/{instrument}"
    status, content = await edge.internal.get("marketdata", path, {})
    return Response(content, status, media_type="application/json" if status < 400 else PROBLEM_JSON)


@router.post(
    "/", response_model=views.Imported, openapi_extra=_DOCUMENTED, responses={**models.PROBLEMS, **models.TAKEN}
)
async def import_actions(request: Request, identity: Admin, edge: TheEdge) -> Response:
    """All of them or none, at most 2,000 at once, as JSON or CSV; one that is known already is replaced. For admins."""
    wanted = _read(request.headers.get("content-type", ""), await request.body())

    async def run(request_id: UUID, again: bool) -> Response:
        wish = CorporateActionsImportRequested(import_id=request_id, user_id=identity.user_id, actions=tuple(wanted))
        done = await edge.commands.ask(wish, request_id, CorporateActionsImported, identity=identity, again=again)
        if done is None:
            return pending_request(request_id)
        return Json({"import_id": str(request_id), "imported": len(wanted)})

    return await edge.commands.once(request, identity, run)


def _read(media: str, body: bytes) -> list[CorporateActionTerms]:
    try:
        if media.startswith("text/csv"):
            lines = csv.DictReader(io.StringIO(body.decode("utf-8-sig")))
            rows: object = [{name: cell for name, cell in line.items() if cell} for line in lines]
        else:
            check_fields(body)
            rows = orjson.loads(body)
        bodies = _BODIES.validate_python(rows)
    except (ValidationError, ValueError, csv.Error) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = f"{_place(first['loc'])}{first['msg']}" if first else error
        raise Problem(422, "invalid", f"corporate actions not understood: {where}") from error
    if not 0 < len(bodies) <= MOST:
        raise Problem(422, "invalid", f"{len(bodies)} corporate actions: send 1 to {MOST}")
    return [
        CorporateActionTerms.model_validate(
            {**each.model_dump(), "instrument": named_instrument(each.instrument, None)}
        )
        for each in bodies
    ]


def _place(loc: tuple[int | str, ...]) -> str:
    """Nowhere in particular when the body is no list."""
    return f"row {loc[0]}, {'.'.join(map(str, loc[1:]))}: " if loc else ""
