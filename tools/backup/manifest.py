"""What a backup consists of, with the checksum of each file. Written last: a backup without one is none."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from tools.backup.records import FOLDER

NAME = "manifest.json"


class Damaged(Exception):
    """A backup that is not whole; says which file."""


def write(root: Path, facts: dict[str, Any], same: Mapping[str, str] | None = None) -> None:
    """`same` are the checksums of files that were taken over from an earlier backup as they were."""
    known = same or {}
    names = {str(path.relative_to(root)): path for path in _files(root)}
    files = {name: known.get(name) or checksum(path) for name, path in names.items()}
    (root / NAME).write_bytes(orjson.dumps({**facts, "files": files}, option=orjson.OPT_INDENT_2) + b"\n")


def verify(root: Path) -> dict[str, Any]:
    """The facts of a backup whose every file is as it was written, and whose log has no file of another's."""
    facts = read(root)
    for name, expected in facts["files"].items():
        file = root / name
        if not file.exists():
            raise Damaged(f"{name} is missing")
        if checksum(file) != expected:
            raise Damaged(f"{name} is not what was written")
    for path in _files(root / FOLDER):
        if (name := str(path.relative_to(root))) not in facts["files"]:
            raise Damaged(f"{name} is not of this backup")
    return facts


def read(root: Path) -> dict[str, Any]:
    """The facts as they were written, whatever became of the files."""
    path = root / NAME
    if not path.exists():
        raise Damaged(f"no {NAME} in it: not a backup, or one that was not finished")
    try:
        facts: dict[str, Any] = orjson.loads(path.read_bytes())
    except ValueError:
        facts = {}
    if not (isinstance(facts, dict) and facts.keys() >= {"taken_at", "records", "ends", "files"}):
        raise Damaged(f"{NAME} is not what was written")
    return facts


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != NAME)
