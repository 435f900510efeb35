"""Backups by command. docs/operations.md tells what is lost when, and how to practise.

python -m tools.backup take [--to DIR]       a directory named after the moment, below DIR; the stack goes on
                            [--anew]         without what the newest one there has of the log
python -m tools.backup verify FROM           every file as it was written
python -m tools.backup restore FROM          stop the stack, set aside what it has, put the backup in its place
python -m tools.backup release               end the checkpoint of QuestDB that a killed backup left
"""

import argparse
import asyncio
import logging
import sys
import tarfile
from pathlib import Path
from subprocess import CalledProcessError

import asyncpg
from confluent_kafka import KafkaException
from httpx import HTTPError

from deploy.local.instance import OFFSETS, PROJECT
from deploy.local.stack import NotReadyError, Stack
from libs.common.messaging.log import LogAway
from tools.backup import databases, manifest, restoring, taking

BREAKING_OFF = (
    *(OSError, EOFError, tarfile.TarError, CalledProcessError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, KafkaException, LogAway),
)


def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what concerns a person is raised, and told in a line
    arguments = _arguments()
    stack = Stack(arguments.instance)
    try:
        match arguments.command:
            case "take":
                taking.check(stack)
                made = _take(stack, arguments.to, anew=arguments.anew)
                sys.stdout.write(f"{made}\n")
            case "verify":
                facts = manifest.verify(arguments.source)
                sys.stdout.write(f"whole: taken {facts['taken_at']}, {len(facts['files'])} files\n")
            case "release":
                asyncio.run(databases.release(stack.instance.url("questdb")))
            case _:
                sys.stdout.write(_restore(stack, arguments.source).words())
    except manifest.Damaged as error:
        raise SystemExit(f"{arguments.source}: {error}") from error
    except (taking.NotRunning, databases.CheckpointStands, NotReadyError) as error:
        raise SystemExit(str(error)) from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instance", choices=OFFSETS, default="local")
    commands = parser.add_subparsers(dest="command", required=True)
    take = commands.add_parser("take")
    take.add_argument("--to", type=Path, default=PROJECT / "backups")
    take.add_argument("--anew", action="store_true")
    for name in ("verify", "restore"):
        commands.add_parser(name).add_argument("source", type=Path, metavar="FROM")
    commands.add_parser("release")
    return parser.parse_args()


def _take(stack: Stack, into: Path, *, anew: bool) -> Path:
    try:
        return asyncio.run(taking.take(stack, into, anew=anew))
    except KeyboardInterrupt as error:
        raise SystemExit("the backup was not finished: it was stopped") from error
    except (*BREAKING_OFF, HTTPError) as error:  # a disk that is full, a folder of somebody else's, a server gone
        raise SystemExit(f"the backup was not finished: {error}") from error


def _restore(stack: Stack, source: Path) -> restoring.Restored:
    try:
        return restoring.restore(stack, source)
    except (*BREAKING_OFF, KeyboardInterrupt) as error:
        then = "; do it again, nothing starts before" if stack.instance.restoring.exists() else ""
        raise SystemExit(f"the restore was not finished: {error!r}{then}") from error


if __name__ == "__main__":
    main()
