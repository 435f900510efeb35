"""Small files that a stack keeps for the next start: replaced whole, whenever the process dies or the disk is full."""

import json
from pathlib import Path
from typing import Any


def keep(path: Path, text: str) -> None:
    """Readable by its owner alone."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


def facts(path: Path) -> dict[str, Any]:
    """A JSON object; nothing where there is none, or one that was broken off."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
