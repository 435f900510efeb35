"""Where dumps come from: addresses and files, brought into a folder with one checksum over all of them."""

import asyncio
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

LARGEST = 512 * 1024 * 1024
PIECE = 1024 * 1024
WHOLE_SECONDS = 300.0
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_HERE = ("127.0.0.1", "localhost", "::1")


class DumpUnavailable(ConnectionError):
    """It could not be fetched, or not whole."""


@dataclass(frozen=True, slots=True)
class Fetched:
    paths: tuple[Path, ...]
    checksum: str
    """SHA-256 over the files in their order."""


async def fetch(places: Sequence[str], folder: Path) -> Fetched:
    """Bring every place's file into `folder`. DumpUnavailable says which one failed and how."""
    digest = hashlib.sha256()
    paths: list[Path] = []
    try:
        async with asyncio.timeout(WHOLE_SECONDS):
            for n, place in enumerate(places):
                path = folder / f"{n}-{Path(urlsplit(place).path).name or 'dump'}"
                await (_download(place, path) if "://" in place else asyncio.to_thread(_copy, place, path))
                await asyncio.to_thread(_digest, digest, path)
                paths.append(path)
    except TimeoutError as error:
        raise DumpUnavailable(f"not all of it came within {WHOLE_SECONDS:.0f} s") from error
    return Fetched(tuple(paths), digest.hexdigest())


async def _download(address: str, path: Path) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _HERE):
        raise DumpUnavailable(f"{address}: only https addresses are fetched")
    try:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=True) as client,
            client.stream("GET", address) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise DumpUnavailable(f"{address} answers {answer.status_code}")
            length = 0
            with path.open("wb") as file:
                async for piece in answer.aiter_bytes(PIECE):
                    length += len(piece)
                    if length > LARGEST:
                        raise DumpUnavailable(f"{address} sends more than {LARGEST} bytes")
                    await asyncio.to_thread(file.write, piece)
    except httpx.HTTPError as error:
        raise DumpUnavailable(f"{address}: {str(error) or type(error).__name__}") from error


def _copy(place: str, path: Path) -> None:
    found = _matching(place)
    if not found:
        raise DumpUnavailable(f"there is no file {place}")
    try:
        shutil.copyfile(found[-1], path)
    except OSError as error:
        raise DumpUnavailable(f"{found[-1]}: {error.strerror}") from error


def _matching(place: str) -> list[Path]:
    """The files that a name with `*` in it means, in order of their names."""
    path = Path(place)
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path] if path.is_file() else []


def _digest(digest: "hashlib._Hash", path: Path) -> None:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
