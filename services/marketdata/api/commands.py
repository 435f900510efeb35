"""Stored history by command: `python -m services.marketdata history …`; it needs QUESTDB_URL and no running service.

Days are UTC days for `archive`, `restore` and `ttl`, as QuestDB cuts its partitions, and Indian days elsewhere.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

import orjson

from libs.common.clock import SystemClock
from libs.common.contracts.ids import InstrumentId
from libs.common.messaging.bulk_reader import forget
from libs.common.problems import Problem
from libs.common.settings import CommonSettings, MarketHours, load
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.candle_files import CandleFileUnreadable, Form
from services.marketdata.adapters.kite_history import HistoryRefused
from services.marketdata.adapters.recomputed import recomputed
from services.marketdata.api import keeping
from services.marketdata.api.additions import broker_history
from services.marketdata.memory.market import WRITER_GROUP
from services.marketdata.settings import BarLabel, HistorySettings
from services.marketdata.store.series import TimeSeries, TimeSeriesUnavailable, candle_row
from services.marketdata.store.series.archive import Archive, ArchiveRefused

SESSIONS = TradingCalendar(MarketHours.EXCHANGE)


def run(words: Sequence[str]) -> None:
    """Prints one line of JSON for each thing done; ends with 1 and a sentence when something could not be."""
    arguments = _parser().parse_args(words)
    try:
        asyncio.run(_run(arguments))
    except (CandleFileUnreadable, HistoryRefused, ArchiveRefused, TimeSeriesUnavailable, Problem, OSError) as error:
        raise SystemExit(str(error)) from error


async def _run(wanted: argparse.Namespace) -> None:
    settings = load(CommonSettings)
    series = TimeSeries(settings.questdb_url)
    try:
        await series.create_tables()
        match wanted.command:
            case "import":
                await _import(series, wanted)
            case "backfill":
                await _backfill(series, wanted)
            case "quality":
                calendar = TradingCalendar(settings.market_hours)
                now = SystemClock().now()
                _say(await keeping.quality(series, calendar, wanted.instrument, wanted.day, now))
            case "recompute":
                for instrument in wanted.instruments:
                    candles = await recomputed(series, instrument, wanted.day, SystemClock().now())
                    _say({"instrument": instrument, "candles": await series.write(candles=map(candle_row, candles))})
            case "reread":
                await asyncio.to_thread(forget, WRITER_GROUP, settings)
                _say({"begins_anew": WRITER_GROUP})
            case _:
                await _archive(series, wanted)
    finally:
        await series.close()


async def _import(series: TimeSeries, wanted: argparse.Namespace) -> None:
    for path in wanted.files:
        sessions = None if wanted.outside else SESSIONS
        form, label = Form.PARQUET if path.suffix == ".parquet" else Form.CSV, BarLabel(wanted.label)
        with path.open("rb") as file:
            kept = await keeping.import_candles(series, wanted.instrument, file, form, label, sessions)
        _say({"file": str(path), "instrument": wanted.instrument, **asdict(kept)})


async def _backfill(series: TimeSeries, wanted: argparse.Namespace) -> None:
    broker = broker_history()
    try:
        period, now = (wanted.start, wanted.end), SystemClock().now()
        kept = await keeping.backfill(series, broker, wanted.instrument, wanted.token, *period, now, wanted.lot)
    finally:
        await broker.close()
    _say({"instrument": wanted.instrument, "kept": kept})


async def _archive(series: TimeSeries, wanted: argparse.Namespace) -> None:
    archive = Archive(series, load(HistorySettings).archive)
    match wanted.command:
        case "archive":
            _say(await archive.store(wanted.table, wanted.day, SystemClock().now(), drop=not wanted.keep))
        case "restore":
            _say(await archive.restore(wanted.table, wanted.day, SystemClock().now()))
        case _:
            await archive.keep_for(wanted.days)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.marketdata history", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    importing = commands.add_parser("import", help="one-minute candles from CSV or Parquet files")
    importing.add_argument("instrument", type=InstrumentId)
    importing.add_argument("files", nargs="+", type=Path)
    importing.add_argument(
        "--label", required=True, choices=list(BarLabel), help="which end of its minute a time names"
    )
    importing.add_argument("--outside", action="store_true", help="keep candles from outside the session too")

    _describe_backfill(commands.add_parser("backfill", help="one-minute candles from the broker's history API"))

    judging = commands.add_parser("quality", help="what is wrong with a day's candles")
    judging.add_argument("instrument", type=InstrumentId)
    judging.add_argument("day", type=date.fromisoformat)

    again = commands.add_parser("recompute", help="make a day's candles again from its ticks")
    again.add_argument("day", type=date.fromisoformat)
    again.add_argument("instruments", nargs="+", type=InstrumentId)

    commands.add_parser("reread", help="have the writer write again what Kafka has of ticks; marketdata must not run")

    for name, said in (("archive", "a day into a Parquet file; ticks leave QuestDB"), ("restore", "and back")):
        moving = commands.add_parser(name, help=said)
        moving.add_argument("table", choices=("ticks", "candles"))
        moving.add_argument("day", type=date.fromisoformat)
        if name == "archive":
            moving.add_argument("--keep", action="store_true", help="leave the ticks in QuestDB too")
    commands.add_parser("ttl", help="how many days QuestDB keeps ticks").add_argument("days", type=int)
    return parser


def _describe_backfill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instrument", type=InstrumentId)
    parser.add_argument("token", help="the broker's")
    parser.add_argument("start", type=_moment)
    parser.add_argument("end", type=_moment)
    parser.add_argument("--lot", type=int, default=1, help="units in a contract of what the broker counts in contracts")


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError("write it with its offset: 2026-11-24T09:15:00+05:30")
    return at.astimezone(UTC)


def _say(what: object) -> None:
    sys.stdout.write(orjson.dumps(what, default=str).decode() + "\n")
