"""A file's rows by the piece, each with the place that a person finds it at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import BinaryIO, Final

import polars as pl

TIME_NAMES: Final = ("start", "timestamp", "datetime", "time", "date")
PRICES: Final = ("open", "high", "low", "close")
COUNTS: Final = ("volume", "oi")
MOST_ROWS = 5_000_000
"""Fifty years of one instrument's minutes on NSE, twenty on MCX: a small Parquet file can claim any number of rows."""
_BARE = ("symbol", "day", "minute", *PRICES, *COUNTS)
_BLOCK = 2_097_152
"""Bytes of CSV in one piece: some 40,000 candles."""
_LONGEST_LINE = 65_536
_ROWS = 50_000
"""Rows of Parquet in one piece."""


class Form(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


class CandleFileUnreadable(ValueError):
    """The file is not in a shape that is known, or a row of it is broken; says which, and what was found."""


class CandleFileTooLong(CandleFileUnreadable):
    """More than MOST_ROWS rows."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`rows` has `time` (a text or a time), the prices and, where the file has them, the counts; a blank line is null
    throughout. Row n is line (of Parquet: row) `first` + n of the file.
    """

    rows: pl.DataFrame
    first: int
    noun: str

    def place(self, row: int) -> str:
        return f"{self.noun} {self.first + row}"


def pieces(file: BinaryIO, form: Form) -> Iterator[Piece]:
    """The whole file, from its beginning; as often as one likes."""
    file.seek(0)
    for piece in _csv(file) if form is Form.CSV else _parquet(file):
        if piece.first + piece.rows.height > MOST_ROWS + 2:
            raise CandleFileTooLong(f"the file has more than {MOST_ROWS} rows: cut it into parts")
        yield piece


def _csv(file: BinaryIO) -> Iterator[Piece]:
    head = file.readline(_LONGEST_LINE).removeprefix(b"\xef\xbb\xbf")
    if not head.strip():
        raise CandleFileUnreadable("not a CSV of candles: its first line is empty")
    if b"open" in head.lower():
        names = [name.strip().strip('"').strip().lower() for name in head.decode(errors="replace").split(",")]
        wanted = _wanted(names)
        line, blocks = 2, _blocks(file, 2)
    else:
        names = list(_BARE[: head.count(b",") + 1])
        if not 7 <= head.count(b",") + 1 <= len(_BARE):
            raise CandleFileUnreadable(f"{head.count(b',') + 1} columns without a header; known are {', '.join(_BARE)}")
        at = pl.concat_str("day", "minute", separator=" ").str.to_datetime("%Y%m%d %H:%M", strict=False)
        wanted = [at.alias("time"), *names[3:]]
        line, blocks = 1, chain([head], _blocks(file, 2))
    for block in blocks:
        rows = _text(block, names, line)
        yield Piece(rows.select(wanted), line, "line")
        line += rows.height


def _blocks(file: BinaryIO, line: int) -> Iterator[bytes]:
    """Whole lines; `line` is the number of the first."""
    while block := file.read(_BLOCK):
        if not block.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE)
            if len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
                number = line + block.count(b"\n")
                raise CandleFileUnreadable(f"line {number} is longer than {_LONGEST_LINE} bytes")
            block += rest
        yield block
        line += block.count(b"\n")


def _text(block: bytes, names: Sequence[str], line: int) -> pl.DataFrame:
    """Every line is a row, a blank one too; what a line lacks at its end is null."""
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        rows = pl.read_csv(block, has_header=False, schema=dict.fromkeys(names, pl.String()), missing_columns="insert")
    except pl.exceptions.PolarsError as error:
        raise CandleFileUnreadable(_ill(block, len(names), line) or f"not a CSV of candles: {error}") from error
    if rows.height != lines:
        raise CandleFileUnreadable(_ill(block, len(names), line) or "not a CSV of candles: a quoted line break")
    return rows


def _ill(block: bytes, columns: int, first: int) -> str | None:
    """What is wrong with the first line that cannot be cut into columns."""
    for number, line in enumerate(block.splitlines(), first):
        if line.count(b'"') % 2:
            return f"line {number}: a quote that is not closed"
        if b'"' not in line and (found := line.count(b",") + 1) > columns:
            return f"line {number}: {found} columns, expected {columns}"
        try:
            line.decode()
        except UnicodeDecodeError:
            return f"line {number}: not UTF-8 text"
    return None


def _parquet(file: BinaryIO) -> Iterator[Piece]:
    try:
        lazy = pl.scan_parquet(file)
        names = lazy.collect_schema().names()
        height = lazy.select(pl.len()).collect().item()
        if height > MOST_ROWS:
            raise CandleFileTooLong(f"the file has {height} rows, at most {MOST_ROWS}: cut it into parts")
        lower = [name.strip().lower() for name in names]
        if len(set(lower)) < len(lower):
            raise CandleFileUnreadable(f"two columns of one name: {', '.join(names)}")
        lazy = lazy.rename(dict(zip(names, lower, strict=True))).select(_wanted(lower))
        row = 1
        for rows in lazy.collect_batches(chunk_size=_ROWS):
            yield Piece(rows, row, "row")
            row += rows.height
    except pl.exceptions.PolarsError as error:
        raise CandleFileUnreadable(f"not a Parquet file of candles: {error}") from error


def _wanted(names: Sequence[str]) -> list[str | pl.Expr]:
    time = next((name for name in TIME_NAMES if name in names), None)
    missing = [name for name in PRICES if name not in names]
    if time is None or missing:
        lacks = ", ".join(missing) or f"a time ({', '.join(TIME_NAMES)})"
        raise CandleFileUnreadable(f"columns are {', '.join(names)}; missing: {lacks}")
    if len(set(names)) < len(names):
        raise CandleFileUnreadable(f"two columns of one name: {', '.join(names)}")
    return [pl.col(time).alias("time"), *PRICES, *(name for name in COUNTS if name in names)]
