"""The application of a service that has routes of its own."""

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.problems import Problem


def application(service: str, router: APIRouter) -> FastAPI:
    app = FastAPI(title=f"OpenAlgo Enhanced: {service}", version="2", redoc_url=None)
    # A router that is included makes all its routes once more, when the first request comes: a quarter of a second.
    app.router.routes.extend(router.routes)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    return app


async def _on_invalid(_: Request, error: Any) -> Response:
    fields = [_fault(each) for each in error.errors()]
    detail = "; ".join(f"{f['field'] or 'body'}: {f['error']}" for f in fields)
    return Problem(422, "invalid", detail, errors=fields).response()


def _fault(error: dict[str, Any]) -> dict[str, str]:
    """Of a body that is no JSON FastAPI says how far it could be read as if that were a field."""
    place = error["loc"][1:]
    if error["type"] == "json_invalid" and place:
        return {"field": "", "error": f"not JSON from character {place[0]}: {error['ctx']['error']}"}
    return {"field": ".".join(map(str, place)), "error": error["msg"].removeprefix("Value error, ")}
