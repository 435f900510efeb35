"""What all requests and answers are made of."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

T = TypeVar("T")


def no_truth(value: object, name: str = "") -> object:
    if isinstance(value, bool):
        raise ValueError(f"{name}a number, not {'true' if value else 'false'}")
    return value


def no_zeros(value: UUID) -> UUID:
    if not value.int:
        raise ValueError("no strategy has the id of zeros: leave it out")
    return value


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Password = Annotated[str, StringConstraints(min_length=10, max_length=128)]
Money = Annotated[Decimal, Field(max_digits=18, decimal_places=4)]
Price = Annotated[Decimal, Field(gt=0, max_digits=14, decimal_places=4)]
Whole = Annotated[int, BeforeValidator(no_truth)]
"""`true` is no number: it would order one share."""
Quantity = Annotated[Whole, Field(gt=0, le=10_000_000)]
Strategy = Annotated[UUID, AfterValidator(no_zeros)]
"""An algo's id, or one that a user made up. Books keep what is of no strategy under the id of zeros."""
SavedAt = Annotated[datetime | None, Field(description="When it was saved; the answer to saving it does not say so")]


class Body(BaseModel):
    """A request's body: what it does not know it refuses."""

    MOST_BYTES: ClassVar[int] = 32_768
    """More than its longest texts take in any spelling. It is read while nobody else has a turn."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """An answer's shape, for the description of the API: pydantic builds it when somebody asks for that. Answers are
    written as rows and events have them.
    """

    model_config = ConfigDict(defer_build=True)


class Pending(Answer):
    """Taken, outcome open: ask `status_url`."""

    id: UUID
    status: str
    status_url: str


class Page(Answer, Generic[T]):
    """`next_cursor` asks for the page after this one; null on the last."""

    data: list[T]
    next_cursor: str | None


class Listing(Answer, Generic[T]):
    data: list[T]


PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"description": "Who are you?"},
    403: {"description": "Your role or key may not"},
    404: {"description": "You have none of that"},
    409: {"description": "It conflicts with the present state, or the key is in flight"},
    422: {"description": "Not understood, or refused"},
    429: {"description": "Too much at once; `Retry-After` says when to ask again"},
    503: {"description": "A part of the platform is away; nothing was taken"},
}
"""What they look like `libs.common.api` says, of these and of any other."""
TAKEN: dict[int | str, dict[str, Any]] = {202: {"model": Pending, "description": "Taken; ask for the outcome"}}
