"""The application of a service that has routes of its own, and how it describes what they answer."""

import asyncio
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from libs.common.problems import PROBLEM_JSON, Problem

_PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}
_DOCS_FILES = "/docs/files"
_DESCRIPTION = "/openapi.json"
_ANY_OTHER = {"4XX": "Any other fault of the request", "5XX": "Any other fault of ours, or a part is away"}


class ProblemDetails(BaseModel):
    """RFC 9457. `code` is a stable word for programs, `detail` a sentence for people."""

    model_config = ConfigDict(defer_build=True)

    type: str = Field(examples=["urn:openalgo:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"])
    detail: str = Field(examples=["you have no account 01976f3e-2d4b-7c3a-9f53-3b1c6f0d9a11"])


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The description of the API: made when somebody first asks for it, since that takes longer than a start, and
        by a thread: half a second, in which everybody else is answered.
        """
        known = self.openapi_schema
        document = super().openapi()
        if document is not known:
            _tell_errors_as_sent(document)
        return document


def application(service: str, router: APIRouter) -> FastAPI:
    app = _Application(
        title=f"OpenAlgo Enhanced: {service}", version="2", docs_url=None, redoc_url=None, openapi_url=None
    )
    # A router that is included makes all its routes once more, when the first request comes: a quarter of a second.
    app.router.routes.extend(router.routes)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    _show_docs(app)
    return app


def _show_docs(app: FastAPI) -> None:
    """FastAPI's own page loads its scripts from another's host: a page beside a trader's session runs only ours, and
    is there for operators without the internet.
    """
    app.mount(_DOCS_FILES, StaticFiles(packages=[("fastapi_offline", "static")]))
    making, written = asyncio.Lock(), b""

    @app.get(_DESCRIPTION, include_in_schema=False)
    async def description() -> Response:
        nonlocal written
        async with making:
            written = written or await asyncio.to_thread(lambda: bytes(JSONResponse(app.openapi()).body))
        return Response(written, media_type=JSONResponse.media_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url=_DESCRIPTION,
            title=app.title,
            swagger_js_url=f"{_DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{_DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{_DOCS_FILES}/favicon.png",
        )


def _tell_errors_as_sent(document: dict[str, Any]) -> None:
    """Of every route: whatever it answers with a status of 400 or more is a problem."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for never_sent in ("HTTPValidationError", "ValidationError"):
        schemas.pop(never_sent, None)
    schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
    for operation in (operation for methods in document["paths"].values() for operation in methods.values()):
        answers = operation["responses"]
        for statuses, words in _ANY_OTHER.items():
            answers.setdefault(statuses, {"description": words})
        for status, answer in answers.items():
            if status[0] in "45":
                answer["content"] = _error_content(answer.get("content"))


def _error_content(declared: object) -> object:
    """A route declares no content, or a model of a problem with more fields, or what is no problem, without a model."""
    match declared:
        case {"application/json": {"schema": {"$ref": str(model)}}} if not model.endswith("/HTTPValidationError"):
            return {PROBLEM_JSON: {"schema": {"$ref": model}}}
        case None | {"application/json": {"schema": {"$ref": _}}}:
            return {PROBLEM_JSON: {"schema": _PROBLEM}}
        case _:
            return declared


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
