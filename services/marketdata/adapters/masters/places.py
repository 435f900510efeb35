"""Where dumps come from: addresses and files, brought into a folder with one checksum over all of them."""

import asyncio
import hashlib
import shutil
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx

PIECE = 1024 * 1024
MOST_REDIRECTS = 5
_HERE = ("127.0.0.1", "localhost", "::1")
_PAGES = ("text/html", "application/xhtml+xml")
"""What a log-in, a captcha or an apology comes as, with 200 OK; no broker's dump does."""


class DumpUnavailable(ConnectionError):
    """It could not be fetched, or not whole."""


@dataclass(frozen=True, slots=True)
class Posted:
    """An address that gives its dump as the answer to a question in JSON."""

    address: str
    question: Mapping[str, object]


Place: TypeAlias = str | Posted


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long; the largest real dump has some 40 MB."""

    size: int = 512 * 1024 * 1024
    whole_seconds: float = 300.0
    """All files of one broker."""
    silent_seconds: float = 30.0
    connect_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Fetched:
    paths: tuple[Path, ...]
    checksum: str
    """SHA-256 over the files in their order."""


class Places:
    """`certificates`: a PEM file to trust in the place of the public authorities."""

    def __init__(self, certificates: Path | None = None, limits: Limits | None = None) -> None:
        self._certificates = certificates
        self._limits = limits or Limits()

    async def fetch(self, places: Sequence[Place], folder: Path) -> Fetched:
        """Bring every place's file into `folder`. DumpUnavailable says which one failed and how."""
        digest = hashlib.sha256()
        paths: list[Path] = []
        limit = self._limits.whole_seconds
        try:
            async with asyncio.timeout(limit), self._client() as client:
                for n, place in enumerate(places):
                    path = folder / f"{n}-{_name(place)}"
                    if isinstance(place, str) and "://" not in place:
                        await asyncio.to_thread(_copy, place, path)
                    else:
                        await self._download(client, place, path)
                    await asyncio.to_thread(_digest, digest, path)
                    paths.append(path)
        except TimeoutError as error:
            raise DumpUnavailable(f"not all of it came within {limit:g} s") from error
        return Fetched(tuple(paths), digest.hexdigest())

    def _client(self) -> httpx.AsyncClient:
        limits = self._limits
        timeout = httpx.Timeout(limits.silent_seconds, connect=limits.connect_seconds)
        try:
            trusted = ssl.create_default_context(cafile=self._certificates) if self._certificates else True
        except OSError as error:
            raise DumpUnavailable(f"the certificates of {self._certificates} cannot be read: {error}") from error
        return httpx.AsyncClient(timeout=timeout, verify=trusted)

    async def _download(self, client: httpx.AsyncClient, place: Place, path: Path) -> None:
        """Redirects are followed as long as they lead to https."""
        if isinstance(place, Posted):
            address, request = place.address, client.build_request("POST", place.address, json=dict(place.question))
        else:
            address, request = place, client.build_request("GET", place)
        try:
            for _ in range(MOST_REDIRECTS + 1):
                _demand_tls(request.url, typed=address)
                answer = await client.send(request, stream=True)
                try:
                    if answer.next_request is None:
                        await self._save(answer, address, path)
                        return
                    request = answer.next_request
                finally:
                    await answer.aclose()
        except httpx.TimeoutException as error:
            raise DumpUnavailable(f"{address} says nothing: {type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise DumpUnavailable(f"{address}: {str(error) or type(error).__name__}") from error
        raise DumpUnavailable(f"{address} leads to another address more than {MOST_REDIRECTS} times")

    async def _save(self, answer: httpx.Response, address: str, path: Path) -> None:
        if answer.status_code != httpx.codes.OK:
            raise DumpUnavailable(f"{address} answers {answer.status_code}")
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media in _PAGES:
            raise DumpUnavailable(f"{address} answers with a page ({media}), not with a dump")
        length = 0
        with path.open("wb") as file:
            async for piece in answer.aiter_bytes(PIECE):
                length += len(piece)
                if length > self._limits.size:
                    raise DumpUnavailable(f"{address} sends more than {self._limits.size} bytes")
                await asyncio.to_thread(file.write, piece)


def _demand_tls(url: httpx.URL, typed: str) -> None:
    """Plain http is only for this machine, and only where the operator said so: an address elsewhere may not lead
    there."""
    here = url.scheme == "http" and url.host in _HERE and typed.startswith("http://")
    if url.scheme != "https" and not here:
        raise DumpUnavailable(f"{url}: only https addresses are fetched")


def _name(place: Place) -> str:
    address = place.address if isinstance(place, Posted) else place
    return Path(httpx.URL(address).path if "://" in address else address).name or "dump"


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
