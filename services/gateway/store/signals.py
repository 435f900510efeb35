"""Signals that were received and what algos did with them."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import orjson

from libs.common.contracts.algos import SignalActedOn, SignalSkipped
from libs.common.contracts.signals import SignalReceived
from libs.common.database import Connection
from services.gateway.store.changes import Changes, Channel
from services.gateway.store.rows import Database, Row, columns

_PUT = """
    INSERT INTO signals (signal_id, group_id, user_id, body, received_at, seq)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::jsonb[], $5::timestamptz[], $6::bigint[])
    ON CONFLICT (signal_id) DO UPDATE SET body = excluded.body, group_id = excluded.group_id,
        received_at = excluded.received_at, seq = excluded.seq
"""
_DECIDE = """
    INSERT INTO signals AS s (signal_id, group_id, user_id, body, decisions, received_at, seq)
    SELECT id, '00000000-0000-0000-0000-000000000000', user_id, '{}', decision, at, seq
    FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[], $4::timestamptz[], $5::bigint[])
        AS n (id, user_id, decision, at, seq)
    ON CONFLICT (signal_id) DO UPDATE SET seq = excluded.seq, decisions = (
        SELECT jsonb_agg(d ORDER BY d ->> 'at', d ->> 'algo_id')
        FROM jsonb_array_elements(s.decisions || excluded.decisions) AS d)
    RETURNING signal_id, body, decisions
"""
"""In order of time: algos decide on topics of their own, which a rebuild reads in another order than we did."""


_DECIDED = """
    SELECT signal_id, (
        SELECT jsonb_agg(
            d - '{order_ids,square_off_ids,signal_id,signal_type,user_id}'::text[] || jsonb_build_object(
                'orders', jsonb_array_length(coalesce(d -> 'order_ids', '[]')),
                'square_offs', jsonb_array_length(coalesce(d -> 'square_off_ids', '[]'))
            ) ORDER BY place
        ) FROM jsonb_array_elements(jsonb_path_query_array(decisions, '$[0 to 19]')) WITH ORDINALITY AS told (d, place)
    ) AS decisions
    FROM signals WHERE signal_id = ANY($1::uuid[]) AND user_id = $2
"""
"""The first twenty of each, with how much was asked for: a page of all that thousands of accounts did has no end."""


async def decisions_about(database: Database, user_id: UUID, signal_ids: Collection[UUID]) -> dict[UUID, list[Row]]:
    """What the user's algos did about these signals."""
    rows = await database.fetch(_DECIDED, list(signal_ids), user_id)
    return {row["signal_id"]: orjson.loads(row["decisions"]) for row in rows if row["decisions"]}


class SignalLog:
    """A decision may arrive before its signal: the two come by different topics."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._received: list[Row] = []
        self._decided: dict[UUID, Row] = {}
        self._decisions: dict[UUID, list[dict[str, object]]] = {}

    def received(self, signal: SignalReceived) -> None:
        row: Row = {
            "signal_id": signal.signal_id,
            "group_id": signal.group_id,
            "user_id": signal.user_id,
            "body": signal.model_dump_json(),
            "received_at": signal.received_at,
            "decisions": "[]",
        }
        self._received.append(row)
        self._changes.add(signal.user_id, Channel.SIGNALS, "SignalReceived", row)

    def decided(self, decision: SignalActedOn | SignalSkipped, at: datetime) -> None:
        name = type(decision).__name__
        if decision.signal_id not in self._decided:
            row: Row = {"signal_id": decision.signal_id, "user_id": decision.user_id, "at": at, "body": "{}"}
            self._decided[decision.signal_id] = row
            self._changes.add(decision.user_id, Channel.SIGNALS, name, row)
        entry: dict[str, object] = {"type": name, "at": at, **decision.model_dump(mode="json")}
        self._decisions.setdefault(decision.signal_id, []).append(entry)

    async def flush(self, connection: Connection) -> None:
        if self._received:
            names = ("signal_id", "group_id", "user_id", "body", "received_at", "seq")
            await connection.execute(_PUT, *columns(self._received, names))
        if self._decided:
            for signal_id, row in self._decided.items():
                row["decisions"] = orjson.dumps(self._decisions[signal_id]).decode()
            decided = ("signal_id", "user_id", "decisions", "at", "seq")
            for written in await connection.fetch(_DECIDE, *columns(list(self._decided.values()), decided)):
                self._decided[written["signal_id"]].update(written.items())
