"""Which partitions this process reads: leases, kept in PostgreSQL beside the offsets that they guard.

A process is a member as long as it holds the advisory lock of its outbox and its heartbeat goes on. Every member looks
once a second, or when another says that something changed, and works out from the same rows who should hold how many
partitions: it hands over what it has too much of and takes what nobody holds. Nobody waits for all the others, so only
the partitions that move stand still. A partition's number stands for that partition of every topic: what happens to one
account is handled in one place. docs/decisions/0013-leases.md
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Set
from dataclasses import dataclass, replace

import asyncpg

from libs.common.database import session_name
from libs.common.messaging.inbox import Partition
from libs.common.telemetry import log

OWNER_LOCK = 20_260
"""The class of the advisory locks that say which process lives: (OWNER_LOCK, owner)."""
TICK_S = 1.0
SILENT_S = 7.0
"""A member whose heartbeat we did not see for so long is stopped or cut off: what it holds is taken."""
_STALLED_S = 3.0
"""When we did not look ourselves for so long, the silence of the others proves nothing."""
_BACK_S = 2.5
"""When our session was lost, the others' may have been too: so long may they take before a free lock tells anything."""

_LOOK = """
    WITH beat AS (
        INSERT INTO message_members (owner, instance, beats) VALUES ($1, $2, 1)
        ON CONFLICT (owner) DO UPDATE SET beats = message_members.beats + 1
    )
    SELECT m.owner, m.instance, m.beats, EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.classid = $3::bigint::oid AND l.objid = m.owner::oid AND l.granted
    ) AS locked
    FROM message_members m WHERE m.owner <> $1
"""
_HOLDERS = "SELECT partition, array_agg(DISTINCT owner) AS owners FROM message_offsets GROUP BY partition"
_KNOW = """
    INSERT INTO message_offsets (topic, partition, next_offset)
    SELECT topic, partition, 0 FROM unnest($1::text[], $2::int[]) AS n (topic, partition)
    ON CONFLICT DO NOTHING
"""
_TAKE = """
    WITH free AS (
        SELECT topic, partition, owner FROM message_offsets
        WHERE partition = ANY($1::int[]) AND (owner IS NULL OR owner NOT IN (SELECT owner FROM message_members))
          AND partition NOT IN (
              SELECT partition FROM message_offsets JOIN message_members USING (owner) WHERE owner <> $2)
        ORDER BY partition, topic FOR UPDATE
    ), taken AS (
        UPDATE message_offsets o SET owner = $2 FROM free f WHERE o.topic = f.topic AND o.partition = f.partition
    )
    SELECT DISTINCT owner FROM free WHERE owner IS NOT NULL
"""
_GIVE_BACK = "UPDATE message_offsets SET owner = NULL WHERE owner = $1 AND partition = ANY($2::int[])"
CUT_OFF = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = $1::bigint::oid AND objid = $2::bigint::oid AND pid <> pg_backend_pid()
"""
"""The session that holds a process's lock."""
_CUT_OFF_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Share:
    """What a member holds, and what is to change: partitions by their number."""

    mine: frozenset[int]
    give: frozenset[int]
    take: frozenset[int]
    fair: int
    """So many a member holds at least, once all is settled."""


def share(holders: Mapping[int, int | None], living: Collection[int], me: int) -> Share:
    """Everyone's fair share, as few as possible moving; all members find the same from the same rows."""
    held: dict[int, set[int]] = {owner: set() for owner in living}
    free = []
    for number, owner in sorted(holders.items()):
        if owner in held:
            held[owner].add(number)
        else:
            free.append(number)
    fair, more = divmod(len(holders), len(held))
    ranked = sorted(held, key=lambda owner: (-len(held[owner]), owner))
    wanted = fair + 1 if ranked.index(me) < more else fair
    mine = sorted(held[me])
    room = max(0, wanted - len(mine))
    return Share(frozenset(mine), frozenset(mine[wanted:]), frozenset(free[:room]), fair)


def share_of_whole(owners: Mapping[int, Set[int | None]], living: Set[int], me: int) -> Share:
    """The same where a number's rows may differ: the row of a topic that nobody read before is nobody's yet.

    A living holder takes it too. Of two, which cannot both have the number, the lower keeps it, the other gives back.
    """
    holders = {number: min((each for each in living if each in held), default=None) for number, held in owners.items()}
    found = share(holders, living, me)
    rest = {number for number in found.mine if owners[number] != {me} and owners[number] & living == {me}}
    strays = {number for number, held in owners.items() if me in held and holders[number] != me}
    return replace(found, give=found.give | strays, take=found.take | rest)


class Leases:
    """One member's view. Every method may raise what the database raises; the next look makes it good."""

    def __init__(
        self, service: str, instance: str, owner: int, session: Callable[[], Awaitable[asyncpg.Connection]]
    ) -> None:
        self._service = service
        self._channel = f"leases_{service}"
        self._instance = instance
        self.owner = owner
        self.unsettled: set[int] = set()
        """The dead who held what we have taken, until somebody has published what they had said."""
        self._session = session
        self._listening: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._heard: dict[int, tuple[int, float]] = {}
        self._unlocked: set[int] = set()
        self._looked_at = 0.0
        self._back_at = float("-inf")

    async def know(self, partitions: Collection[Partition]) -> None:
        """Make sure that every partition has its row."""
        async with self._turn:
            connection = await self._connection()
            await connection.execute(_KNOW, [topic for topic, _ in partitions], [number for _, number in partitions])

    async def look(self) -> Share:
        """Give a sign of life; declare dead who gives none; what we hold and should."""
        async with self._turn:
            connection = await self._connection()
            members = await connection.fetch(_LOOK, self.owner, self._instance, OWNER_LOCK)
            dead = self._dead(members)
            if dead:
                await self._bury(connection, dead)
            owners = {row["partition"]: set(row["owners"]) for row in await connection.fetch(_HOLDERS)}
            living = {self.owner, *(row["owner"] for row in members)} - dead
            return share_of_whole(owners, living, self.owner)

    async def take(self, numbers: Collection[int]) -> None:
        """Take what is still free of these, but for a number of which another has some. Who held it last is `unsettled`
        before the commit, which may not be answered.
        """
        async with self._turn:
            connection = await self._connection()
            async with connection.transaction():
                rows = await connection.fetch(_TAKE, list(numbers), self.owner)
                self.unsettled |= {row["owner"] for row in rows}

    async def give_back(self, numbers: Collection[int]) -> None:
        async with self._turn:
            connection = await self._connection()
            await connection.execute(_GIVE_BACK, self.owner, list(numbers))
            await self._tell(connection)

    async def leave(self, numbers: Collection[int]) -> None:
        """Give back all and be no member any more."""
        await self.give_back(numbers)
        async with self._turn:
            connection = await self._connection()
            await connection.execute("DELETE FROM message_members WHERE owner = $1", self.owner)
            await self._tell(connection)

    async def news(self, seconds: float = TICK_S) -> None:
        """Wait until a member came, went or gave something back, or it is time to look again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    def look_soon(self) -> None:
        self._news.set()

    def _dead(self, members: "list[asyncpg.Record]") -> set[int]:
        """Who is silent, and who was without his lock at two looks: once may be a database that has just come back.

        Our own predecessor needs one look only: we would not run if it did.
        """
        now = asyncio.get_running_loop().time()
        stalled = now - self._looked_at > _STALLED_S
        self._looked_at = now
        for row in members:
            owner, beats = row["owner"], row["beats"]
            if stalled or owner not in self._heard or self._heard[owner][0] != beats:
                self._heard[owner] = (beats, now)
        silent = {row["owner"] for row in members if now - self._heard[row["owner"]][1] > SILENT_S}
        unlocked = {row["owner"] for row in members if not row["locked"]}
        replaced = {row["owner"] for row in members if row["instance"] == self._instance}
        before = self._unlocked if now - self._back_at > _BACK_S else set()
        gone, self._unlocked = unlocked & (before | replaced), unlocked
        if unlocked - gone:
            asyncio.get_running_loop().call_later(TICK_S / 2, self._news.set)
        return silent | gone

    async def _bury(self, connection: asyncpg.Connection, dead: set[int]) -> None:
        """Its sessions end with it: what a stopped process had begun cannot be committed when it wakes, and what it had
        locked is free.
        """
        for owner in dead:
            log.warning("member_is_dead", owner=owner)
            await connection.execute(
                CUT_OFF, OWNER_LOCK, owner
            )  # of an earlier version, which names its sessions otherwise
            await connection.execute(_CUT_OFF_ALL, session_name(self._service, owner))
        await connection.execute("DELETE FROM message_members WHERE owner = ANY($1::bigint[])", list(dead))
        self._unlocked -= dead

    async def _connection(self) -> asyncpg.Connection:
        """The session that holds our lock, listening to the others."""
        connection = await self._session()
        if connection is not self._listening:
            if self._listening is not None:
                self._back_at = asyncio.get_running_loop().time()
            await connection.add_listener(self._channel, lambda *_: self._news.set())
            self._listening = connection
            await self._tell(connection)
        return connection

    async def _tell(self, connection: asyncpg.Connection) -> None:
        await connection.execute("SELECT pg_notify($1, '')", self._channel)
