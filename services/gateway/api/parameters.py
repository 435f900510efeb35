"""What stands behind the `?` of an address: taken as a route knows it, or refused.

Passed over, a filter with a slip in its name would show everything as if it were what was asked for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant

from libs.common.problems import Problem

Check = Callable[[Request], None]

_PASSES_CACHES = "_"
"""What monitors and browsers' libraries add to every address, with a number, so that no cache answers for us."""


def checked_by(dependant: Dependant) -> Check:
    """What refuses a request of a route that names a parameter that the route has not, or one of its own twice."""
    known = dict(_known(dependant))

    def check(request: Request) -> None:
        if request.scope["query_string"]:
            named = Counter(name for name, _ in request.query_params.multi_items())
            named.pop(_PASSES_CACHES, None)
            _check(named, known)

    return check


def _known(dependant: Dependant) -> Iterable[tuple[str, bool]]:
    """The names of all parameters, and whether each may be repeated."""
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        yield parameter.alias, any(get_origin(each) is list for each in (annotation, *get_args(annotation)))
    for part in dependant.dependencies:
        yield from _known(part)


def _check(named: Mapping[str, int], known: Mapping[str, bool]) -> None:
    for name, times in named.items():
        if name not in known:
            taken = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise Problem(422, "invalid", f"there is no parameter {name[:40]!r} here: {taken}")
        if times > 1 and not known[name]:
            raise Problem(422, "invalid", f"the parameter {name} stands there twice: send it once")
