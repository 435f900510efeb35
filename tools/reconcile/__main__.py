"""python -m tools.reconcile [--instance NAME] [--wait SECONDS] [--answered FILE] [--explained FILE] [--seen FILE]
                          [--json FILE]

Exit code 0: every rule holds. 1: a rule is broken, its first counterexample is shown. 2: the stack never came to rest,
or could not be read.
"""

import argparse
import asyncio
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

import orjson
from aiokafka.errors import KafkaError

from deploy.local import environment
from deploy.local.instance import Instance
from libs.common.messaging.entry import Refused, knock
from libs.common.settings import SettingsError, kafka_of
from tools.reconcile import AlertAnswered, Answered, Options, Report, Sources, reconcile
from tools.reconcile.cache import RedisCache
from tools.reconcile.checks.answers import Note
from tools.reconcile.log import LogUnreadable
from tools.reconcile.report import UNPROVEN
from tools.reconcile.tables import TablesUnreadable

STOPPED = 130
"""By whoever asked: as of any command that is interrupted."""


class Unusable(Exception):
    """A file that was named cannot be read, or written; says which."""


def main(words: list[str] | None = None) -> int:
    given = _arguments().parse_args(words)
    variables = {**environment.read(Instance(given.instance))} if given.instance else dict(os.environ)
    try:
        _ensure_room(given.json)
        _ensure_address(variables)
        sources = Sources.of(
            variables,
            answered=tuple(_answered(given.answered)),
            explained=frozenset(_words(given.explained)),
            seen=tuple(_words(given.seen)) if given.seen else None,
        )
        _ensure_let_in(variables)
        report = asyncio.run(reconcile(sources, Options(wait_s=given.wait, grace_s=given.grace, trail=given.trail)))
        sys.stdout.write(report.text() + "\n")
        _keep(report, given.json)
    except KeyError as error:
        sys.stderr.write(f"reconcile: {error} is not set: `make up` starts a stack, --instance names another\n")
        return UNPROVEN
    except (LogUnreadable, TablesUnreadable) as error:
        sys.stderr.write(f"reconcile: {error}; `make status` says what runs\n")
        return UNPROVEN
    except (Unusable, SettingsError) as error:
        sys.stderr.write(f"reconcile: {error}\n")
        return UNPROVEN
    except KeyboardInterrupt:
        return STOPPED
    return report.exit_code


def _seconds(text: str) -> float:
    if not 0 <= (found := float(text)) < math.inf:
        raise ValueError
    return found


def _number(text: str) -> int:
    if (found := int(text)) < 0:
        raise ValueError
    return found


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.reconcile", description=__doc__)
    parser.add_argument(
        "--instance", default="local", help="of the local stack; empty for this environment's variables"
    )
    parser.add_argument("--wait", type=_seconds, default=30.0, help="seconds to wait until the stack is at rest")
    parser.add_argument(
        "--grace", type=_seconds, default=1.0, help="seconds after a panic in which what was sent may leave"
    )
    parser.add_argument("--trail", type=_number, default=60, help="messages to show of each counterexample")
    parser.add_argument(
        "--answered",
        help='JSON lines of what a client was told: {"order_id": …, "status": 201} or {"signal_id": …, "status": 202}',
    )
    parser.add_argument("--seen", help="tags in the books of brokers behind HTTP, a line for each order there")
    parser.add_argument("--explained", help="ids of messages or orders that somebody knows about, a line each")
    parser.add_argument("--json", help="where to write the report for programs")
    return parser


def _ensure_address(variables: Mapping[str, str]) -> None:
    try:
        RedisCache(variables.get("REDIS_URL") or "redis://")
    except ValueError as error:
        raise Unusable(f"REDIS_URL: {error}") from error


def _ensure_let_in(variables: Mapping[str, str]) -> None:
    try:
        asyncio.run(knock(kafka_of(variables)))
    except Refused as error:
        raise Unusable(f"{error}; {error.remedy}") from error
    except KafkaError:
        return  # whoever reads it tells that it is away


def _ensure_room(path: str | None) -> None:
    """Before the log is read, which may take a minute."""
    if path and not Path(path).absolute().parent.is_dir():
        raise Unusable(f"{path}: no such folder for the report")
    if path and Path(path).is_dir():
        raise Unusable(f"{path}: a folder; name a file for the report")


def _keep(report: Report, path: str | None) -> None:
    """After it was shown: where there is no room for it, it is not lost."""
    try:
        if path:
            Path(path).write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise Unusable(str(error)) from error


def _answered(path: str | None) -> Iterator[Note]:
    for number, text in enumerate(_text(path).splitlines(), start=1):
        try:
            note = orjson.loads(text)
            if note.get("order_id"):
                yield Answered(UUID(note["order_id"]), int(note["status"]))
            elif note.get("signal_id"):
                yield AlertAnswered(UUID(note["signal_id"]), int(note["status"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unusable(f"{path}, line {number} is no note of an answer: {error!r}") from error


def _words(path: str | None) -> list[str]:
    return _text(path).split()


def _text(path: str | None) -> str:
    try:
        return Path(path).read_text() if path else ""
    except OSError as error:
        raise Unusable(str(error)) from error
    except UnicodeDecodeError as error:
        raise Unusable(f"{path}: no text") from error


if __name__ == "__main__":
    sys.exit(main())
