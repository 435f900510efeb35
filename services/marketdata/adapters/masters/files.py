"""Dumps as they lie on disk: plain, gzip or zip, whatever their name says."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import orjson
import polars as pl

from services.marketdata.adapters.masters.table import MasterMalformed

LARGEST = 1 << 30
"""Bytes a dump may unpack to; the largest real one has some 40 MB."""

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


def texts(path: Path) -> Iterator[bytes]:
    """The content, of each member for a zip. MasterMalformed when it is cut short or empty."""
    raw = path.read_bytes()
    try:
        if raw.startswith(_GZIP):
            yield _filled(path, _unpacked(raw))
        elif raw.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                if sum(member.file_size for member in archive.infolist()) > LARGEST:
                    raise MasterMalformed(f"{path.name} unpacks to more than {LARGEST} bytes")
                for member in archive.infolist():
                    if not member.is_dir():
                        yield _filled(path, archive.read(member))
        else:
            yield _filled(path, raw)
    except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        raise MasterMalformed(f"{path.name} is cut short or damaged: {error}") from error
    except RuntimeError as error:  # what zipfile says of a password, and of a compression that it does not know
        raise MasterMalformed(f"{path.name} is a zip that cannot be unpacked: {error}") from error


def _unpacked(raw: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise MasterMalformed(f"it unpacks to more than {LARGEST} bytes")
    return content


def _filled(path: Path, content: bytes) -> bytes:
    if not content.strip():
        raise MasterMalformed(f"{path.name} is empty")
    return content


def csv(content: bytes, columns: list[str] | None = None) -> pl.DataFrame:
    """All columns as text. `columns` names those of a file without a header."""
    try:
        table = pl.read_csv(
            content,
            has_header=columns is None,
            infer_schema=False,
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
        )
    except pl.exceptions.PolarsError as error:
        raise MasterMalformed(f"it is no CSV: {str(error).splitlines()[0]}") from error
    if columns is not None:
        if table.width < len(columns):
            raise MasterMalformed(f"it has {table.width} columns, not {len(columns)}")
        table = table.select([pl.nth(n).alias(name) for n, name in enumerate(columns)])
    return table.rename(str.strip)


def json(content: bytes) -> pl.DataFrame:
    """An array of flat objects, all values as text."""
    try:
        table = pl.read_json(io.BytesIO(content), infer_schema_length=None)
        return table.select(pl.col(name).cast(pl.String) for name, kind in table.schema.items() if not kind.is_nested())
    except pl.exceptions.PolarsError as error:
        raise MasterMalformed(f"it is no JSON array of objects: {str(error).splitlines()[0]}") from error


def is_json(content: bytes) -> bool:
    return content.lstrip()[:1] in (b"[", b"{")


def document(content: bytes) -> dict[str, object]:
    """One JSON object."""
    try:
        said = orjson.loads(content)
    except ValueError as error:
        raise MasterMalformed(f"it is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise MasterMalformed("it is no JSON object")
    return said
