"""Who may ask: other services, by the platform's internal token."""

import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import Header

from libs.common.problems import Problem


def internal_only(token: str) -> Callable[[str], None]:
    """A dependency that refuses whoever does not send the token."""
    expected = token.encode()

    def authenticated(x_internal_token: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(x_internal_token.encode(), expected):
            raise Problem(401, "unauthenticated", "X-Internal-Token is missing or wrong")

    return authenticated
