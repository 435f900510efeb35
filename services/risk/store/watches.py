"""The watches that limits keep on MTM: where each stands, who may tell its breach, when it is armed again."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

import asyncpg

from libs.common.contracts.enums import BreachKind, RiskLevel
from libs.common.contracts.ids import AccountId, InstrumentId, RiskLimitId, UserId
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.risk import RiskLimit
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from services.risk.domain.limits import watched
from services.risk.domain.money import ZERO
from services.risk.domain.watches import CARRIED, Carried, Watch, begin_day
from services.risk.store.exposures import NET

_WATCHES = """
    SELECT l.limit_id, w.kind, w.version, l.user_id, l.level, l.account_id, l.strategy_id, l.instrument, w.amount,
           w.armed, w.day, w.baseline, w.peak, w.realised_before, w.carried_peak
    FROM limits l LEFT JOIN watches w USING (limit_id)
"""

_WATCHES_OF = f"{_WATCHES} WHERE limit_id = ANY($1::uuid[])"

_WATCHES_CHANGED = f"""
    {_WATCHES} WHERE limit_id = ANY(ARRAY(SELECT limit_id FROM limits WHERE changed_at > $1
                                          UNION SELECT limit_id FROM watches WHERE changed_at > $1))
"""  # noqa: S608 - constants only

_DROP = """
    DELETE FROM watches w USING limits l
    WHERE w.limit_id = $1 AND l.limit_id = $1
      AND (ROW(l.level, l.account_id, l.strategy_id, l.instrument)
               IS DISTINCT FROM ROW($2::text, $3::uuid, $4::uuid, $5::text)
           OR NOT EXISTS (SELECT FROM unnest($6::text[], $7::numeric[]) AS k (kind, amount)
                          WHERE k.kind = w.kind AND k.amount = w.amount))
    RETURNING w.kind, w.baseline, w.day,
              ROW(l.level, l.account_id, l.strategy_id, l.instrument)
                  IS NOT DISTINCT FROM ROW($2::text, $3::uuid, $4::uuid, $5::text)
"""

_ARM = """
    INSERT INTO watches (limit_id, kind, version, amount, armed, day, baseline, changed_at)
    SELECT $1, kind, $2, amount, true, $3, baseline, statement_timestamp()
    FROM unnest($4::text[], $5::numeric[], $6::numeric[]) AS k (kind, amount, baseline)
    ON CONFLICT (limit_id, kind) DO NOTHING
"""

_FIRED = """
    SELECT limit_id, w.kind, w.version, l.user_id, l.level, l.account_id, l.strategy_id, l.instrument, w.amount::text,
           w.armed, w.day, w.baseline::text
    FROM limits l JOIN watches w USING (limit_id)
    WHERE l.user_id = ANY($1::uuid[]) AND l.active AND NOT w.armed AND w.kind <> 'DAILY_LOSS'
    ORDER BY limit_id, w.kind FOR UPDATE OF w
"""
"""Locked: of two instances that close the last positions of a scope, the second waits, and sees that all is flat."""

_CLAIM = """
    UPDATE watches SET armed = false, day = $4, breached_at = $5, breached_on = $4, breached_mtm = $7,
        changed_at = statement_timestamp()
    WHERE limit_id = $1 AND kind = $2 AND version = $3 AND (day < $4 OR (armed AND baseline = $6))
    RETURNING true
"""

_ACCOUNTS_IN_SCOPE = """
    SELECT account_id FROM accounts a
    WHERE user_id = $1 AND ($2::uuid IS NULL OR account_id = $2)
      AND ($3::uuid IS NULL OR EXISTS (
          SELECT FROM exposures e WHERE e.account_id = a.account_id AND e.strategy_id = $3
            AND (quantity <> 0 OR pending_buy <> 0 OR pending_sell <> 0)))
    ORDER BY account_id
"""

_REARM = """
    WITH scope AS (
        SELECT * FROM exposures
        WHERE user_id = $4 AND strategy_id = COALESCE($6::uuid, $8::uuid)
          AND ($5::uuid IS NULL OR account_id = $5) AND ($7::text IS NULL OR instrument = $7))
    UPDATE watches w
    SET armed = true, peak = NULL, carried_peak = NULL, changed_at = statement_timestamp(), day = $9,
        baseline = (SELECT COALESCE(sum(realised_pnl + unbooked_pnl) FILTER (WHERE pnl_day = $9), 0) FROM scope)
    FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS c (limit_id, kind, version)
    WHERE w.limit_id = c.limit_id AND w.kind = c.kind AND w.version = c.version AND NOT armed
      AND NOT EXISTS (SELECT FROM scope WHERE quantity <> 0 AND instrument <> ALL($10::text[]))
    RETURNING w.limit_id, w.kind
"""

_SHIFT = """
    WITH moved AS (
        SELECT w.limit_id, w.kind, w.day = $7 AS is_on,
               CASE l.level WHEN 'STRATEGY' THEN $6::numeric ELSE $5::numeric END AS made
        FROM watches w JOIN limits l USING (limit_id)
        WHERE l.user_id = $1 AND l.active AND w.kind <> 'DAILY_LOSS'
          AND (l.account_id IS NULL OR l.account_id = $2) AND (l.strategy_id IS NULL OR l.strategy_id = $3)
          AND (l.instrument IS NULL OR l.instrument = $4)
        ORDER BY limit_id, kind FOR UPDATE OF w)
    UPDATE watches w
    SET armed = w.armed OR NOT is_on, day = $7, baseline = CASE WHEN is_on THEN baseline ELSE 0 END + made,
        peak = CASE WHEN is_on THEN peak + made END, carried_peak = carried_peak + made,
        changed_at = statement_timestamp()
    FROM moved m WHERE w.limit_id = m.limit_id AND w.kind = m.kind
    RETURNING w.limit_id, w.kind
"""

_IN_ORDER = """
    SELECT FROM watches JOIN unnest($1::uuid[], $2::text[]) AS c (limit_id, kind) USING (limit_id, kind)
    ORDER BY limit_id, kind FOR UPDATE OF watches
"""
"""Two instances write to the same watches at once, each in an order of its own: they would wait for each other."""

_KEEP_PEAKS = """
    UPDATE watches w
    SET peak = c.peak, baseline = CASE WHEN w.day = c.day THEN w.baseline ELSE 0 END, day = c.day, armed = true,
        changed_at = statement_timestamp()
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::date[], $5::numeric[], $6::numeric[])
         AS c (limit_id, kind, version, day, baseline, peak)
    WHERE w.limit_id = c.limit_id AND w.kind = c.kind AND w.version = c.version
      AND (w.day < c.day
           OR (w.day = c.day AND w.armed AND w.baseline = c.baseline AND (w.peak IS NULL OR w.peak < c.peak)))
"""

_CARRIED = f"""
    SELECT l.limit_id, w.kind, w.version, l.user_id, l.level, l.account_id, l.strategy_id, l.instrument, w.amount,
           w.armed, w.day, w.baseline, w.peak, w.realised_before, w.carried_peak, held.is_open, held.is_kept,
           held.realised
    FROM watches w JOIN limits l USING (limit_id)
    CROSS JOIN LATERAL (
        SELECT COALESCE(bool_or(brought <> 0), false) AS is_open,
               COALESCE(bool_or(brought <> 0 AND (opened_on < w.day OR opened_on >= $1 OR quantity = 0)), false)
                   AS is_kept,
               COALESCE(sum(realised_before + CASE WHEN pnl_day < $1 THEN realised_pnl + unbooked_pnl ELSE 0 END), 0)
                   AS realised
        FROM (SELECT *, CASE WHEN pnl_day < $1 THEN quantity ELSE carried_quantity END AS brought
              FROM (SELECT * FROM exposures
                    WHERE account_id = l.account_id AND strategy_id = '{NET}' AND instrument = l.instrument
                    UNION ALL
                    SELECT * FROM exposures WHERE strategy_id = l.strategy_id) AS each) AS scope
        WHERE scope.user_id = l.user_id) AS held
    WHERE w.kind = $2 AND l.level = ANY($3::text[]) AND ($4::uuid IS NULL OR limit_id = $4)
      AND (w.day < $1 OR w.realised_before IS DISTINCT FROM held.realised)
    ORDER BY limit_id, w.kind FOR UPDATE OF w
"""  # noqa: S608 - constants only

_BEGIN = """
    UPDATE watches w
    SET armed = n.armed, day = n.day, baseline = n.baseline, peak = n.peak, realised_before = n.realised_before,
        carried_peak = n.carried_peak, changed_at = statement_timestamp()
    FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::date[], $5::numeric[], $6::numeric[], $7::numeric[],
                $8::numeric[])
         AS n (limit_id, kind, armed, day, baseline, peak, realised_before, carried_peak)
    WHERE w.limit_id = n.limit_id AND w.kind = n.kind
"""


class Watches:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._fired: list[Watch] = []

    def ask_fired(self, reads: Reads, user_ids: Collection[UserId]) -> None:
        reads.add(_FIRED, self._keep_fired, user_ids)

    def _keep_fired(self, rows: Sequence[Row]) -> None:
        self._fired = [_fired(row) for row in rows]

    def fired(self, user_id: UserId, today: date) -> list[Watch]:
        """What fired today and may be armed again; what fired on another day is armed already."""
        return [watch for watch in self._fired if (watch.user_id, watch.day) == (user_id, today)]

    async def drop(self, limit: RiskLimit, today: date) -> dict[BreachKind, Decimal]:
        """What the limit, as it is about to be saved, watches no more. An amount that stays is watched on as it stands:
        where it counts from, its peak, and what fired have nothing to do with the limit's other amounts.

        From where those that were dropped counted in the same scope today.
        """
        amounts = watched(limit)
        scope = (limit.level, limit.account_id, limit.strategy_id, limit.instrument)
        rows = await self._connection.fetch(_DROP, limit.limit_id, *scope, list(amounts), list(amounts.values()))
        return {BreachKind(kind): baseline for kind, baseline, day, is_same in rows if is_same and day == today}

    async def arm(self, limit: RiskLimit, version: int, today: date, baselines: Mapping[BreachKind, Decimal]) -> None:
        """What the limit, as it was saved last, watches from now on. An amount that was changed counts from where it
        did: what was lost before the scope was flat is no part of a stop that is tightened.
        """
        amounts = watched(limit)
        if amounts:
            counted = [baselines.get(kind, ZERO) for kind in amounts]
            facts = (limit.limit_id, version, today, list(amounts), list(amounts.values()), counted)
            await self._connection.execute(_ARM, *facts)
            await self.begin_day(today, limit.limit_id)

    async def forget(self, limit_id: RiskLimitId) -> None:
        await self._connection.execute("DELETE FROM watches WHERE limit_id = $1", limit_id)

    async def of(self, limit_ids: Collection[RiskLimitId]) -> dict[RiskLimitId, list[Watch]]:
        return _by_limit(await self._connection.fetch(_WATCHES_OF, limit_ids))

    async def all(self) -> dict[RiskLimitId, list[Watch]]:
        return _by_limit(await self._connection.fetch(_WATCHES))

    async def changed(self, since: datetime) -> dict[RiskLimitId, list[Watch]]:
        """The watches now of limits that somebody saved or deleted, or that fired or were armed again."""
        return _by_limit(await self._connection.fetch(_WATCHES_CHANGED, since))

    async def claim(self, watch: Watch, mtm: Decimal, today: date, now: datetime) -> bool:
        """Whether the breach is this caller's to tell. Whoever comes second is told no, also when the watch is armed
        again by then.
        """
        facts = (watch.limit_id, watch.kind, watch.version, today, now, watch.baseline, mtm)
        claimed = await self._connection.fetchval(_CLAIM, *facts)
        return claimed is True

    async def accounts_in_scope(self, watch: Watch) -> list[AccountId]:
        rows = await self._connection.fetch(_ACCOUNTS_IN_SCOPE, watch.user_id, watch.account_id, watch.strategy_id)
        return [row[0] for row in rows]

    async def rearm(
        self, watches: Sequence[Watch], today: date, expired: Collection[InstrumentId]
    ) -> list[tuple[RiskLimitId, str]]:
        """Arm the fired watches of one scope again, if it is flat here as well but for what has expired, which nobody
        can close; what it realised today is the new baseline. Which were armed.
        """
        limit_ids, kinds = [watch.limit_id for watch in watches], [watch.kind for watch in watches]
        await self._connection.execute(_IN_ORDER, limit_ids, kinds)
        one = watches[0]
        armed = await self._connection.fetch(
            _REARM,
            limit_ids,
            kinds,
            [watch.version for watch in watches],
            one.user_id,
            one.account_id,
            one.strategy_id,
            one.instrument,
            NET,
            today,
            expired,
        )
        return [(row[0], row[1]) for row in armed]

    async def leave_out(
        self, settled: PositionChanged, today: date, net: Decimal, book: Decimal
    ) -> list[tuple[RiskLimitId, str]]:
        """Count from further on, by what a position and its strategy's book made today that is of another day. Which
        watches. Those that carry a peak have to be in the day already.
        """
        where = (settled.user_id, settled.account_id, settled.strategy_id, settled.instrument)
        moved = await self._connection.fetch(_SHIFT, *where, net, book, today)
        return [(row[0], row[1]) for row in moved]

    async def begin_day(self, today: date, limit_id: RiskLimitId | None = None) -> list[Watch]:
        """Bring the trailing stops of carried positions into the day: those that are not in it, or not rightly."""
        rows = await self._connection.fetch(_CARRIED, today, BreachKind.TRAILING_STOP, list(CARRIED), limit_id)
        begun = [begin_day(_watch(row[:-3]), today, Carried(*row[-3:])) for row in rows]
        if begun:
            await self._connection.execute(
                _BEGIN,
                [watch.limit_id for watch in begun],
                [watch.kind for watch in begun],
                [watch.armed for watch in begun],
                [watch.day for watch in begun],
                [watch.baseline for watch in begun],
                [watch.peak for watch in begun],
                [watch.realised_before for watch in begun],
                [watch.carried_peak for watch in begun],
            )
        return begun

    async def keep_peaks(self, peaks: list[tuple[Watch, Decimal]]) -> None:
        limit_ids, kinds = [watch.limit_id for watch, _ in peaks], [watch.kind for watch, _ in peaks]
        await self._connection.execute(_IN_ORDER, limit_ids, kinds)
        await self._connection.execute(
            _KEEP_PEAKS,
            limit_ids,
            kinds,
            [watch.version for watch, _ in peaks],
            [watch.day for watch, _ in peaks],
            [watch.baseline for watch, _ in peaks],
            [peak for _, peak in peaks],
        )


def _by_limit(rows: Iterable[asyncpg.Record]) -> dict[RiskLimitId, list[Watch]]:
    found: dict[RiskLimitId, list[Watch]] = {}
    for row in rows:
        watches = found.setdefault(row["limit_id"], [])
        if row["kind"] is not None:
            watches.append(_watch(row))
    return found


def _fired(row: Row) -> Watch:
    *scope, amount, armed, day, baseline = row
    return _watch((*scope, Decimal(amount), armed, day, Decimal(baseline), None))


def _watch(row: Row | asyncpg.Record) -> Watch:
    limit_id, kind, version, user_id, level, *rest = row
    return Watch(limit_id, BreachKind(kind), version, user_id, RiskLevel(level), *rest)
