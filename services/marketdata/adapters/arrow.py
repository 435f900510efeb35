"""QuestDB's CSV turned into Arrow's stream format, or into JSON lines, chunk by chunk: memory holds one chunk.

QuestDB 9 writes CSV and Parquet, but no Arrow.
"""

import asyncio
import io
from collections.abc import AsyncIterator

import polars as pl

_ENOUGH = 2_097_152
"""Bytes of CSV in one record batch: some 25,000 candles."""
_CONTINUES = b"\xff\xff\xff\xff"
_END = _CONTINUES + b"\0\0\0\0"
_TIMES = ("start", "received_at")


async def as_arrow(csv: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """An Arrow IPC stream: the schema, a record batch for each chunk, the end mark."""
    first = True
    async for frame in _frames(csv):
        written = await asyncio.to_thread(_ipc, frame)
        yield written[: -len(_END)] if first else written[_schema_length(written) : -len(_END)]
        first = False
    yield _END


async def as_json_lines(csv: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for frame in _frames(csv):
        yield await asyncio.to_thread(_lines, frame)


async def _frames(csv: AsyncIterator[bytes]) -> AsyncIterator[pl.DataFrame]:
    """Whole lines under the header, a frame at a time; an empty selection is one empty frame."""
    header, rest = b"", b""
    some = False
    async for chunk in csv:
        rest += chunk
        if len(rest) < _ENOUGH:
            continue
        lines, _, rest = rest.rpartition(b"\n")
        if not header:
            header, _, lines = lines.partition(b"\n")
        yield await asyncio.to_thread(_frame, header, lines)
        some = True
    if not header:
        header, _, rest = rest.partition(b"\n")
    if rest or not some:
        yield await asyncio.to_thread(_frame, header, rest)


def frame_of(csv: bytes) -> pl.DataFrame:
    """A whole answer."""
    header, _, lines = csv.partition(b"\n")
    return _frame(header, lines)


def _frame(header: bytes, lines: bytes) -> pl.DataFrame:
    names = [name.strip().strip('"') for name in header.decode().split(",")]
    types = {name: _TYPES.get(name, pl.Int64()) for name in names}
    frame = pl.read_csv(
        io.BytesIO(lines), has_header=False, new_columns=names, schema=types, null_values="", raise_if_empty=False
    )
    return frame.with_columns(
        pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us").dt.replace_time_zone("UTC")
        for name in names
        if name in _TIMES
    )


_PRICES = ("open", "high", "low", "close", "ltp", "bid", "ask")
_TYPES: dict[str, pl.DataType] = {
    **dict.fromkeys(_PRICES, pl.Float64()),
    **dict.fromkeys(_TIMES, pl.String()),
    "source": pl.String(),
}


def _ipc(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.rechunk().write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()


def _lines(frame: pl.DataFrame) -> bytes:
    return frame.write_ndjson().encode()


def _schema_length(written: bytes) -> int:
    """The stream's first message, without a body: a mark, its length in four bytes, and as many bytes."""
    return 8 + int.from_bytes(written[4:8], "little")
