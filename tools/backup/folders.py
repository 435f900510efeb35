"""Where a backup goes, and what a restore sets aside: a folder named after the moment."""

from datetime import datetime
from pathlib import Path


def new_folder(into: Path, now: datetime) -> Path:
    """Only its owner may read it. The second of one moment is named `…-2`, and none is ever written to twice."""
    into.mkdir(parents=True, exist_ok=True)
    name = f"{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        folder = into / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return folder
