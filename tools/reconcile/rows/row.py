"""What every kind of row is: its fields are the columns, and it names its table."""

from dataclasses import fields
from typing import ClassVar, TypeVar

SERVICES = ("gateway", "signals", "strategy", "risk", "trading", "walkforward", "marketdata")


class Row:
    """`source` is the table, or a query in its place; `order` the reading order. Without `service`: in every schema."""

    __slots__ = ()
    service: ClassVar[str]
    source: ClassVar[str]
    order: ClassVar[str] = "1"
    since: ClassVar[str | None] = None
    """The table that an older installation may not have yet: then there are no rows."""


R = TypeVar("R", bound=Row)


def columns(kind: type[Row]) -> str:
    return ", ".join(each.name for each in fields(kind))  # type: ignore[arg-type]  # every Row is a dataclass
