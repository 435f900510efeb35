"""What people own and change by command: accounts, algos, signal groups, risk limits, custom symbols.

Who sees one, who may change one, and how saving and deleting are answered is the same for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from fastapi import Request, Response
from httpx import codes

from libs.common.contracts.base import Message, Value
from libs.common.contracts.ids import UserId
from libs.common.problems import Problem
from services.gateway.api.commands import pending_request
from services.gateway.api.edge import Edge, Json, listing, no_such
from services.gateway.domain import roles
from services.gateway.domain.roles import Identity
from services.gateway.store import entities
from services.gateway.store.entities import Kind
from services.gateway.store.rows import Row

Saved = TypeVar("Saved", bound=Message)


@dataclass(frozen=True, slots=True)
class Owned(Generic[Saved]):
    """One kind, with the events by which its service tells that one was saved or deleted."""

    kind: Kind
    saved: type[Saved]
    deleted: type[Message]

    async def of_user(self, edge: Edge, identity: Identity, user_id: UUID | None) -> Response:
        """All of the caller's, or for admins all of anybody's."""
        told = await entities.told_of_user(edge.runtime.pool, self.kind, edge.whose(identity, user_id))
        return listing(told.encode())

    async def visible(self, edge: Edge, identity: Identity, entity_id: UUID) -> Row:
        """One that the caller may look at; else a Problem 404, which does not tell whether it exists."""
        row = await entities.find(edge.runtime.pool, self.kind, entity_id)
        if row is None or not roles.may_see(identity, _owner(row)):
            raise self._unknown(entity_id)
        return row

    async def own(self, edge: Edge, identity: Identity, entity_id: UUID) -> Row:
        """One that the caller may change: his own, even for admins."""
        row = await entities.find(edge.runtime.pool, self.kind, entity_id)
        if row is None or _owner(row) != identity.user_id:
            raise self._unknown(entity_id)
        return row

    async def save(
        self,
        edge: Edge,
        identity: Identity,
        request_id: UUID,
        wish: Message,
        show: Callable[[Saved], Row],
        *,
        again: bool,
        status: int = 200,
    ) -> Response:
        """Ask for it; the answer shows what was saved, or is 202 when that is not known in time. With the `status` 201,
        that of something new, 409 when its user has too many.
        """
        if status == codes.CREATED and not again:
            owned = await entities.count(edge.runtime.pool, self.kind, identity.user_id)
            edge.check_room(f"{self.kind.replace('_', ' ')}s", owned)
        done = await edge.commands.ask(wish, request_id, self.saved, identity=identity, again=again)
        return Json(show(done), status) if isinstance(done, self.saved) else pending_request(request_id)

    async def delete(
        self, edge: Edge, identity: Identity, request: Request, entity_id: UUID, wish: Message
    ) -> Response:
        """204 however often a key repeats it; without a key, 410 to its owner once it is gone."""

        async def run(request_id: UUID, again: bool) -> Response:
            gone = await self._gone(edge, identity, entity_id)
            if gone and not again:
                raise gone
            if gone is None:
                await self.own(edge, identity, entity_id)
            done = await edge.commands.ask(wish, request_id, self.deleted, identity=identity, again=again)
            edge.forget_owner(self.kind, entity_id)
            return Response(status_code=204) if done else pending_request(request_id)

        return await edge.commands.once(request, identity, run)

    async def _gone(self, edge: Edge, identity: Identity, entity_id: UUID) -> Problem | None:
        found = await entities.deletion(edge.runtime.pool, self.kind, entity_id)
        if found is None or found[0] != identity.user_id:
            return None
        what = f"your {self.kind.replace('_', ' ')} {entity_id}"
        return Problem(410, "already_deleted", f"{what} was deleted before", deleted_at=found[1])

    def _unknown(self, entity_id: UUID) -> Exception:
        return no_such(self.kind.replace("_", " "), entity_id)


def shown(entity: Value, version: int) -> Row:
    """An entity as it is answered right after it was saved."""
    return {**entity.model_dump(mode="json"), "version": version}


def expected(version: int | None, stored: Row) -> int:
    """Which version a change replaces: the one that its author names, else whatever there is."""
    return int(stored["version"]) if version is None else version


def _owner(row: Row) -> UserId:
    return UserId(UUID(row["user_id"]))
