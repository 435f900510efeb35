"""Who may do what."""

from dataclasses import dataclass
from enum import StrEnum

from libs.common.contracts.ids import UserId


class Role(StrEnum):
    SUPER_ADMIN = "super_admin"
    ADMIN = "admin"
    TRADER = "trader"
    VIEWER = "viewer"

    @property
    def is_admin(self) -> bool:
        return self in (Role.SUPER_ADMIN, Role.ADMIN)


class Scope(StrEnum):
    """What an API key may do; a person who logged in may do both."""

    READ = "read"
    TRADE = "trade"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request. `credential` is the id of the session or of the API key."""

    user_id: UserId
    role: Role
    credential: str
    by_key: bool = False
    may_trade: bool = True


def refusal_to_change(identity: Identity) -> str | None:
    """Why this identity may not change anything; None when it may."""
    if identity.role is Role.VIEWER:
        return "a viewer may look at everything of his own and change nothing"
    if not identity.may_trade:
        return "this API key has the scope read; changing something needs trade"
    return None


def refusal_to_administer(identity: Identity) -> str | None:
    if not identity.role.is_admin:
        return f"this needs the role admin; yours is {identity.role}"
    return refusal_to_change(identity)


def refusal_of_role_change(actor: Identity, target: UserId, old: Role, new: Role) -> str | None:
    """Admins rule over traders and viewers; only a super admin over admins; nobody over himself."""
    if (refusal := refusal_to_administer(actor)) is not None:
        return refusal
    if actor.user_id == target:
        return "nobody changes his own role"
    if actor.role is not Role.SUPER_ADMIN and (old.is_admin or new.is_admin):
        return "only a super admin makes or unmakes admins"
    return None


def may_trade(role: Role, active: bool) -> bool:
    """Whether what acts for a user, his webhooks and algos, may open anything."""
    return active and role is not Role.VIEWER


def role_of_newcomer(users: int) -> Role:
    return Role.TRADER if users else Role.SUPER_ADMIN


def may_see(identity: Identity, owner: UserId) -> bool:
    return identity.user_id == owner or identity.role.is_admin
