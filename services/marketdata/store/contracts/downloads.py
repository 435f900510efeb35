"""Which dumps are wanted, being fetched, good or refused: one row for each broker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from libs.common.contracts.masters import DownloadTrigger, MasterSource
from libs.common.database import Connection

LONGEST_DOWNLOAD = timedelta(minutes=10)
"""After so long an instance that took a download has died, and another may take it."""

_WANT = """
    INSERT INTO master_downloads (source, wanted_at, wanted_by) VALUES ($1, $2, $3)
    ON CONFLICT (source) DO UPDATE SET wanted_at = excluded.wanted_at, wanted_by = excluded.wanted_by, attempts = 0
"""
_SCHEDULE = """
    INSERT INTO master_downloads (source, wanted_at, wanted_by, scheduled_on)
    SELECT source, $2, $3, $4 FROM unnest($1::text[]) AS wanted (source)
    ON CONFLICT (source) DO UPDATE
    SET wanted_at = excluded.wanted_at, wanted_by = excluded.wanted_by, scheduled_on = excluded.scheduled_on,
        attempts = 0
    WHERE master_downloads.scheduled_on IS NULL OR master_downloads.scheduled_on < excluded.scheduled_on
"""
_CLAIM = """
    UPDATE master_downloads SET running_until = $1::timestamptz + $2::interval, attempts = attempts + 1
    WHERE source = (
        SELECT source FROM master_downloads
        WHERE wanted_at <= $1 AND (running_until IS NULL OR running_until < $1)
        ORDER BY wanted_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING source, wanted_by, attempts, checksum
"""
_GOOD = """
    UPDATE master_downloads
    SET wanted_at = NULL, running_until = NULL, attempts = 0, good_at = $2, checksum = $3, contracts = $4,
        unreadable = $5, failed_at = NULL, reason = NULL
    WHERE source = $1
"""
_FAILED = """
    UPDATE master_downloads SET wanted_at = $4, running_until = NULL, failed_at = $2, reason = $3 WHERE source = $1
"""


@dataclass(frozen=True, slots=True)
class Download:
    """A dump to be fetched now. `checksum` is that of the last good one."""

    source: MasterSource
    trigger: DownloadTrigger
    attempts: int
    checksum: str | None


class Downloads:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def want(self, source: MasterSource, now: datetime) -> None:
        await self._connection.execute(_WANT, source.value, now, DownloadTrigger.REQUEST.value)

    async def schedule(self, sources: Sequence[MasterSource], day: date, now: datetime) -> None:
        """Want each of these once on `day`."""
        names = [source.value for source in sources]
        await self._connection.execute(_SCHEDULE, names, now, DownloadTrigger.SCHEDULE.value, day)

    async def claim(self, now: datetime) -> Download | None:
        """The next download that is wanted and nobody is busy with."""
        row = await self._connection.fetchrow(_CLAIM, now, LONGEST_DOWNLOAD)
        if row is None:
            return None
        return Download(
            MasterSource(row["source"]), DownloadTrigger(row["wanted_by"]), row["attempts"], row["checksum"]
        )

    async def succeeded(
        self, source: MasterSource, checksum: str, contracts: int, unreadable: int, now: datetime
    ) -> None:
        await self._connection.execute(_GOOD, source.value, now, checksum, contracts, unreadable)

    async def failed(self, source: MasterSource, reason: str, now: datetime, again_at: datetime | None) -> None:
        """The last good dump stays; it is tried again at `again_at`."""
        await self._connection.execute(_FAILED, source.value, now, reason, again_at)

    async def all(self) -> list[dict[str, object]]:
        return [dict(row) for row in await self._connection.fetch("SELECT * FROM master_downloads ORDER BY source")]
