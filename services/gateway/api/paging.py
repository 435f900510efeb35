"""Pages of books: ask for one row more than is shown, to know whether there is a next page."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from fastapi import Query
from pydantic import BeforeValidator

from libs.common.problems import Problem
from services.gateway.domain import cursors
from services.gateway.domain.cursors import Cursor

Limit: TypeAlias = Annotated[int, Query(ge=1, le=500, description="Rows on a page")]
PageCursor: TypeAlias = Annotated[str | None, Query(description="`next_cursor` of the page before")]

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _indian_day(told: object) -> object:
    return f"{told}T00:00:00+05:30" if isinstance(told, str) and _DATE.fullmatch(told) else told


Moment: TypeAlias = Annotated[datetime, BeforeValidator(_indian_day)]
"""A date alone is that day in India, as everywhere: midnight in UTC would cut a day's candle off and take the next."""
_WHEN = "; a date alone is midnight in India, a time without an offset UTC"
From: TypeAlias = Annotated[Moment | None, Query(alias="from", description=f"The first instant{_WHEN}")]
To: TypeAlias = Annotated[Moment | None, Query(alias="to", description=f"The first instant that is left out{_WHEN}")]


def read_cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    found = cursors.decode(text)
    if found is None:
        raise Problem(422, "invalid_cursor", "the cursor is not one that this API gave out")
    return found


def page(
    rows: Sequence[dict[str, Any]], limit: int, show: Callable[[dict[str, Any]], object], time: str, identity: str
) -> dict[str, object]:
    following = None
    if len(rows) > limit:
        last = rows[limit - 1]
        following = cursors.encode(Cursor(last[time], UUID(str(last[identity])).hex))
    return {"data": [show(row) for row in rows[:limit]], "next_cursor": following}


def aware(moment: datetime | None) -> datetime | None:
    """In UTC, as which a time without a zone is taken. A Problem where that is before the year 1 or after 9999."""
    if moment is None or moment.tzinfo is None:
        return moment and moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise Problem(422, "invalid", f"the time {moment.isoformat()} is beyond what can be told in UTC") from error
