"""docs/api.md against the API that is served."""

import re
from pathlib import Path

from tests.services.gateway.scene import Platform

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text()
API = "/api/v2"


def listed() -> set[tuple[str, str]]:
    """The rows of the table at the end: a path and its methods."""
    rows = re.findall(r"^\| `(/[^`]+)` \| ([A-Z ]+) \|", PAGE.partition("## Every route")[2], re.MULTILINE)
    return {(method, API + path) for path, methods in rows for method in methods.split()}


async def test_the_page_lists_every_route_that_is_served_and_no_other(platform: Platform) -> None:
    document = (await (await platform.client()).get("/openapi.json")).json()
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {each for each in served if each[1].startswith(API)} == listed()


def test_every_route_that_the_text_speaks_of_is_in_the_table() -> None:
    """With or without the slash at its end: both are answered."""
    spoken = re.findall(r"\b(GET|POST|PUT|DELETE) (/[a-z][\w/{}-]*)[`?\s]", PAGE.partition("## Every route")[0])
    whole = {(method, shape(path)) for method, path in spoken if path.count("{") == path.count("}")}
    assert len(whole) > 15
    assert whole <= {(method, shape(path.removeprefix(API))) for method, path in listed()}


def shape(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path).rstrip("/")
