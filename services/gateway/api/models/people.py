"""Users, sessions, API keys."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import EmailStr, Field, StringConstraints

from services.gateway.api.models.common import Answer, Body, Name, Password
from services.gateway.domain.roles import Role, Scope


class Registration(Body):
    email: EmailStr
    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{3,40}$")]
    password: Password


class Login(Body):
    email: EmailStr
    password: Annotated[str, StringConstraints(max_length=128)]


class Refresh(Body):
    refresh_token: Annotated[str, StringConstraints(max_length=200)]


class Tokens(Answer):
    access_token: str
    refresh_token: str
    token_type: str = Field(examples=["Bearer"])
    expires_in: int


class Profile(Answer):
    user_id: UUID
    email: str
    username: str
    role: Role
    active: bool
    created_at: datetime
    updated_at: datetime


class ProfileChange(Body):
    """Another `email` takes the `current_password`."""

    email: EmailStr | None = None
    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{3,40}$")] | None = None
    current_password: Annotated[str, StringConstraints(max_length=128)] | None = None


class PasswordChange(Body):
    current_password: Annotated[str, StringConstraints(max_length=128)]
    new_password: Password


class KeyRequest(Body):
    name: Name
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.TRADE], min_length=1, max_length=len(Scope))


class KeyView(Answer):
    key_id: UUID
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime


class NewKey(KeyView):
    api_key: str = Field(description="Shown this once")


class UserChange(Body):
    role: Role | None = None
    active: bool | None = None
