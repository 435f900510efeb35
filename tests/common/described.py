"""An answer held against the OpenAPI page of the service that gave it."""

from typing import Any

import httpx
import jsonschema


def check(page: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """The page says of this path that such an answer may come, in its media type and shape."""
    told = page["paths"][path][answer.request.method.lower()]["responses"]
    status = str(answer.status_code)
    content = told.get(status, told.get(f"{status[0]}XX", {})).get("content", {})
    media = answer.headers["content-type"]
    assert media in content, (path, status, media, content)
    schema = content[media]["schema"] | {"components": page["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
