"""How JSON bodies are read: as RFC 8259 has it, and with nothing in them that a service behind us could not keep, nor
a field that stands twice, nor more fields or bytes than anybody needs.

A text that PostgreSQL cannot hold would park the message that carries it, and with it everything that follows for that
account or panic: a name with a zero byte would stop the account's cancels and its panic.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, get_args

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from libs.common.named_once import NamedTwice, named_once
from libs.common.problems import Problem, zero_byte
from services.gateway.api.models.common import Body
from services.gateway.api.parameters import checked_by

_ZERO = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

MOST_FIELDS = 100
"""Of one object: far more than any body has. A fault would be told of each that is not known."""


def _no_more_than_are_known(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MOST_FIELDS:
        raise Problem(
            422, "invalid", f"an object with {len(pairs)} fields: none of the API has more than {MOST_FIELDS}"
        )
    return named_once(pairs)


OF_A_STRANGER = 8_192
"""Bytes: more than it takes to come in. A MiB of small objects is read in a sixth of a second, in which nobody else is
answered: of a longer body it is known first who sent it.
"""

_read_once = json.JSONDecoder(object_pairs_hook=_no_more_than_are_known, parse_int=str, parse_float=str).decode
"""Made once: that halves what it costs (3 µs for an order)."""


def check_length(body: bytes, most: int = Body.MOST_BYTES) -> None:
    """A Problem 413 before anything of it is read: of a MiB that takes a tenth of a second, and most of a second where
    a fault shows a hundred thousand objects; nobody else is answered meanwhile.
    """
    if len(body) > most:
        raise Problem(413, "too_large", f"a body has at most {most} bytes here, not {len(body)}")


def _most_bytes(annotation: object) -> int:
    """Of a body that may also be left out, of the one that it may be."""
    sizes: list[int] = [getattr(each, "MOST_BYTES", 0) for each in (annotation, *get_args(annotation))]
    return max(sizes)


def check_fields(body: bytes) -> None:
    """A Problem 422 when an object of the body names a field twice, or thousands of them. Of what is no JSON its
    reader tells.
    """
    try:
        _read_once(body.decode())
    except NamedTwice as error:
        raise Problem(422, "invalid", f"{error}: send each field once") from error
    except RecursionError as error:
        raise Problem(422, "invalid", "the body is nested too deeply") from error
    except ValueError:
        return


class StrictRoute(APIRoute):
    """Takes no parameter that it does not know. The body of a route that reads it itself (the road that has to be fast)
    is left as it is.
    """

    @abstractmethod
    async def know(self, request: Request) -> None:
        """Look who sends it; a Problem where nobody knows."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle, check_parameters = super().get_route_handler(), checked_by(self.dependant)
        most = _most_bytes(self.body_field.field_info.annotation) if self.body_field else 0

        async def handle_strictly(request: Request) -> Response:
            check_parameters(request)
            if self.body_field is None:
                return await handle(request)
            strict = _StrictRequest(request.scope, request.receive)
            body = await strict.body()
            if len(body) > OF_A_STRANGER:
                await self.know(strict)
            check_length(body, most)
            if _ZERO.search(body):
                raise zero_byte()
            check_fields(body)
            return await handle(strict)

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        """No NaN, no number beyond what JSON's readers agree on, no half of a character (a lone surrogate)."""
        return orjson.loads(await self.body())
