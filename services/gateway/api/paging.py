"""Pages of books: ask for one row more than is shown, to know whether there is a next page."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
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
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_FIRST_S, _LAST_S = 631_152_000, 7_258_118_400
"""Since 1970, from the beginning of 1990 to that of 2200. What lies outside was meant as something else: a year, or a
date without its dashes.
"""


def _moment(told: object) -> object:
    if not isinstance(told, str):
        return told
    if _DATE.fullmatch(told):
        return f"{told}T00:00:00+05:30"
    if _NUMBER.fullmatch(told) and not any(_FIRST_S <= float(told) / unit < _LAST_S for unit in (1, 1000)):
        raise ValueError(
            f"{told:.40} is no moment from 1990 to 2199: write 2026-11-20, 2026-11-20T09:15:00+05:30, "
            "or seconds or milliseconds since 1970"
        )
    return told


def _day(told: object) -> object:
    if isinstance(told, str) and _NUMBER.fullmatch(told):
        raise ValueError(f"{told:.40} is no day: write it as 2026-11-20")
    return told


Day: TypeAlias = Annotated[date, BeforeValidator(_day)]
Moment: TypeAlias = Annotated[datetime, BeforeValidator(_moment)]
"""A date alone is that day in India, as everywhere: midnight in UTC would cut a day's candle off and take the next."""
_WHEN = "; a date alone is midnight in India, a time without an offset UTC, a number seconds or milliseconds since 1970"
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
