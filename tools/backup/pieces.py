"""The log in pieces that are written once: a backup takes over those of an earlier one, and adds what came since.

They are hard links: each backup is whole by itself, and whoever deletes an earlier one takes nothing from it. That the
earlier one is of this very log is seen by its last record, which Kafka must have at the same offset: it has not where
it was made anew, or lost its newest in a crash of its machine and gave their offsets to others.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from libs.common.messaging.admin import all_topics
from libs.common.messaging.inbox import Partition
from libs.common.messaging.log import KafkaLog, Logged
from tools.backup import manifest, records

COMPACTED = frozenset(t.name for t in all_topics() if t.compacted)
"""Written anew each time: a deletion may have come and gone between two backups, and what it deleted would be back."""


class _Unlike(Exception):
    """What an earlier backup has of a partition cannot be gone on with."""


@dataclass(frozen=True)
class Kept:
    """What a backup has of a partition. What its pieces hold before `begin` was deleted since they were written."""

    begin: int
    last: int = -1
    checksum: str = ""
    """Of the last record."""
    pieces: dict[str, int] = field(default_factory=dict)
    """Their bytes, in order."""


@dataclass(frozen=True)
class Earlier:
    """The log of an earlier backup, and the checksums of its files."""

    root: Path
    kept: Mapping[str, Kept]
    files: Mapping[str, str]


@dataclass(frozen=True)
class Copied:
    """`same` are the checksums of what was taken over, `records` how many came to it."""

    kept: dict[str, Kept]
    same: dict[str, str]
    records: int


def newest(into: Path) -> Earlier | None:
    """The newest backup there that can be gone on with: one that was finished, and by a version that wrote pieces."""
    for folder in sorted(into.iterdir(), reverse=True):
        with contextlib.suppress(manifest.Damaged, OSError):
            facts = manifest.read(folder)
            if "log" in facts:
                return Earlier(folder, {place: Kept(**kept) for place, kept in facts["log"].items()}, facts["files"])
    return None


def begins(facts: Mapping[str, Any]) -> dict[Partition, int]:
    """Before which offset nothing of a partition is put back."""
    named = ((place.rpartition("/"), kept["begin"]) for place, kept in facts.get("log", {}).items())
    return {(topic, int(number)): begin for (topic, _, number), begin in named}


async def copy(log: KafkaLog, root: Path, earlier: Earlier | None) -> Copied:
    """All of the log up to its ends, in the backup at `root`."""
    copied: dict[str, Kept] = {}
    same: dict[str, str] = {}
    count = 0
    for place in sorted(log.ends):
        name = f"{place[0]}/{place[1]}"
        of_it = _Copy(log, place, root, earlier)
        copied[name], added = await of_it.make(earlier.kept.get(name) if earlier else None)
        same |= of_it.same
        count += added
    return Copied(copied, same, count)


class _Copy:
    """Of one partition."""

    def __init__(self, log: KafkaLog, place: Partition, root: Path, earlier: Earlier | None) -> None:
        self._log = log
        self._place = place
        self._folder = root / records.FOLDER / place[0]
        self._earlier = earlier
        self._had = earlier.root / records.FOLDER / place[0] if earlier else root
        self.same: dict[str, str] = {}

    async def make(self, had: Kept | None) -> tuple[Kept, int]:
        """What is kept of it now, and how many records were written."""
        if had is not None and self._place[0] not in COMPACTED:
            try:
                return await self._go_on(had)
            except _Unlike:
                self.same = {}
                for piece in self._there():
                    piece.unlink()
        async with contextlib.aclosing(self._log.read(*self._place)) as source:
            last, count = await self._write(source)
        begin = self._log.begins[self._place]
        return (self._kept(last.offset, records.checksum(last)) if last else Kept(begin)), count

    async def _go_on(self, had: Kept) -> tuple[Kept, int]:
        standing = self._standing(had)
        async with contextlib.aclosing(self._log.read(*self._place, had.last)) as source:
            await _at_the_end(had, source)
            last, count = await self._write(source)
        standing = self._join(standing, had.pieces)
        for piece in standing:
            self._take_over(piece)
        end = (last.offset, records.checksum(last)) if last else (had.last, had.checksum)
        return self._kept(*end), count

    def _standing(self, had: Kept) -> list[str]:
        """Which pieces are there, and hold what Kafka still has."""
        begin = self._log.begins[self._place]
        if not begin <= had.last < self._log.ends[self._place]:
            raise _Unlike
        names = list(had.pieces)
        gone = {name for name, following in pairwise(names) if records.first_of(following) <= begin}
        standing = [name for name in names if name not in gone]
        for name in standing:
            with _still_there():
                if (self._had / name).stat().st_size != had.pieces[name]:
                    raise _Unlike
        return standing

    async def _write(self, source: AsyncIterator[Logged]) -> tuple[Logged | None, int]:
        last, count = None, 0
        async for page in records.pages(source):
            records.write(self._folder.parent, page)
            last, count = page[-1], count + len(page)
        return last, count

    def _join(self, standing: list[str], sizes: Mapping[str, int]) -> list[str]:
        """The new piece takes in those before it that are not more than twice its size: of many small backups a few
        pieces are left, each record was written a few times, and what is full once. Which ones stand as they are.
        """
        new = next(iter(self._there()), None)
        if new is None:
            return standing
        taken: list[str] = []
        size = new.stat().st_size
        while standing and sizes[standing[-1]] < min(2 * size, records.FULL):
            taken.insert(0, standing[-1])
            size += sizes[standing[-1]]
            standing = standing[:-1]
        if taken:
            with (self._folder / taken[0]).open("xb") as joined:
                for name in taken:
                    joined.write(self._checked(name))
                joined.write(new.read_bytes())
            new.unlink()
        return standing

    def _checked(self, name: str) -> bytes:
        """As it was written: the new checksum of what it is joined with would say that a damaged one is whole."""
        with _still_there():
            content = (self._had / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != self._checksum(name):
            raise _Unlike
        return content

    def _take_over(self, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with _still_there():
            try:
                os.link(self._had / name, self._folder / name)
            except OSError:  # as many as a file may have, or a disk that knows none
                shutil.copyfile(self._had / name, self._folder / name)
        self.same[f"{records.FOLDER}/{self._place[0]}/{name}"] = self._checksum(name)

    def _checksum(self, name: str) -> str:
        assert self._earlier is not None
        return self._earlier.files[f"{records.FOLDER}/{self._place[0]}/{name}"]

    def _kept(self, last: int, checksum: str) -> Kept:
        sizes = {piece.name: piece.stat().st_size for piece in self._there()}
        return Kept(self._log.begins[self._place], last, checksum, sizes)

    def _there(self) -> list[Path]:
        return records.pieces(self._folder.parent, *self._place)


@contextlib.contextmanager
def _still_there() -> Iterator[None]:
    """Whoever deletes old backups may do so just now."""
    try:
        yield
    except FileNotFoundError as error:
        raise _Unlike from error


async def _at_the_end(had: Kept, source: AsyncGenerator[Logged, None]) -> None:
    """Past the last record that is kept already."""
    try:
        record = await anext(source)
    except StopAsyncIteration:
        raise _Unlike from None
    if (record.offset, records.checksum(record)) != (had.last, had.checksum):
        raise _Unlike
