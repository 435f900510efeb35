"""What the services have in PostgreSQL, in a canonical form, as one SHA-256 per table.

python -m tools.digest [SERVICE …]            the digest of each table, and of all
python -m tools.digest --dump DIR [SERVICE …] the dumps themselves, to compare what differs

Reads POSTGRES_ADMIN_URL. Every row of a table is one line of PostgreSQL's own COPY text, in the order of these lines,
so the order in which rows came and lie on disk does not matter; an amount is written without trailing zeros.
Left out, by rule and for the reason given:
"""

import argparse
import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import asyncpg

from libs.common.database import or_exit
from libs.common.settings import variable
from libs.common.telling import tell

LEFT_OUT_TABLES = {
    "message_%": "how far a process has read, and what it has still to say: of the process, not of the service",
    "alembic_version": "the schema's, not the data's",
    "gateway.outcomes": "answers that wait an hour for the gateway instance that was asked",
    "gateway.channel_counters": "how many batches of changes a user's WebSocket channels have seen",
    "gateway.idempotency_keys": "leases of requests under way",
}
LEFT_OUT_COLUMNS = {
    "gateway.*.seq": "a row's place in the feed of WebSocket clients: counts on, also over a rebuild",
    "risk.exposures.moved_at": "when and by which process a row was written, for other instances to read it",
    "risk.exposures.moved_by": "as above",
    "risk.corporate_actions.told_at": "as above",
    "risk.limits.changed_at": "as above",
    "risk.watches.changed_at": "as above",
    "walkforward.orders.changed_at": "as above",
}
SERVICES = ("gateway", "trading", "risk", "strategy", "marketdata", "signals", "walkforward")

_COLUMNS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = $1 AND table_name NOT LIKE 'message\\_%' ORDER BY table_name, ordinal_position
"""


async def digest(url: str, services: Sequence[str] = SERVICES, dump: Path | None = None) -> dict[str, str]:
    """`service.table` to the SHA-256 of its canonical dump, all from one snapshot."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = {}
            for service in services:
                for table, columns in (await _columns(connection, service)).items():
                    found[f"{service}.{table}"] = await _digest(connection, service, table, columns, dump)
            return found
    finally:
        await connection.close()


def whole(digests: Mapping[str, str]) -> str:
    """One digest of all tables."""
    lines = "".join(f"{table} {each}\n" for table, each in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(table for table in before.keys() | after.keys() if before.get(table) != after.get(table))


async def _columns(connection: asyncpg.Connection, service: str) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for table, column, kind in await connection.fetch(_COLUMNS, service):
        if table == "alembic_version" or f"{service}.{table}" in LEFT_OUT_TABLES:
            continue
        if not {f"{service}.{table}.{column}", f"{service}.*.{column}"} & LEFT_OUT_COLUMNS.keys():
            name = f'"{column}"'
            columns.setdefault(table, []).append(f"trim_scale({name})" if kind == "numeric" else name)
    return columns


async def _digest(
    connection: asyncpg.Connection, service: str, table: str, columns: list[str], dump: Path | None
) -> str:
    names = ", ".join(columns)
    row = f'ROW({names})::text COLLATE "C"'
    query = f'SELECT {names} FROM "{service}"."{table}" ORDER BY {row}'  # noqa: S608 - names from the catalogue
    seen = hashlib.sha256()
    file = (dump / f"{service}.{table}").open("wb") if dump else None

    async def take(data: bytes) -> None:
        seen.update(data)
        if file:
            file.write(data)

    try:
        await connection.copy_from_query(query, output=take)
    finally:
        if file:
            file.close()
    return seen.hexdigest()


def rules() -> str:
    return "\n".join(f"  {name:32} {why}" for name, why in (LEFT_OUT_TABLES | LEFT_OUT_COLUMNS).items())


def one_of(services: Sequence[str]) -> Callable[[str], str]:
    """An argument's type: argparse's own `choices` refuse in Python 3.11 that none was named."""

    def known(name: str) -> str:
        if name not in services:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(services)}")
        return name

    return known


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.digest",
        description=f"{__doc__}{rules()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("service", nargs="*", type=one_of(SERVICES), default=SERVICES)
    parser.add_argument("--dump", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.dump:
        try:
            arguments.dump.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SystemExit(f"no place for the dump: {error}") from error
    with or_exit():
        found = asyncio.run(digest(variable("POSTGRES_ADMIN_URL"), arguments.service, arguments.dump))
    tell([*(f"{each}  {table}" for table, each in found.items()), f"{whole(found)}  all"])


if __name__ == "__main__":
    main()
