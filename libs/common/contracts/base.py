"""The two kinds of message. A request may be refused; an event already happened."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A part of a message. Unknown fields are ignored, so that a newer writer can add one."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Value):
    """Anything that travels on a topic."""


class Request(Message):
    """A wish that exactly one service answers, named …Requested: OrderRequested."""


class Event(Message):
    """A fact, named in the past tense: OrderCleared, FillReported."""


class RequestRefused(Event):
    """The owner of an entity refused a request to change it; nothing was changed.

    `code` is a stable word for programs (`not_found`, `conflict`, `invalid`), `reason` a sentence for people.
    """

    entity_id: str
    request: str
    code: str
    reason: str
