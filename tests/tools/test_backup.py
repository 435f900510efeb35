"""`python -m tools.backup`: what it says when there is nothing to copy, or nothing to put back."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.local.instance import PROJECT


def backup(*words: str) -> subprocess.CompletedProcess[str]:
    """Of a stack that does not run: no server listens so far away."""
    command = (sys.executable, "-m", "tools.backup", *words)
    away = {**os.environ, "PORT_OFFSET": "29000"}
    return subprocess.run(command, env=away, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_without_a_running_stack_nothing_is_copied_and_that_is_said_in_one_line(tmp_path: Path) -> None:
    done = backup("take", "--to", str(tmp_path))
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert done.stderr == "postgres, kafka, questdb not running, nothing was copied: `make up` starts the stack\n"


def test_what_is_no_backup_is_not_put_back(tmp_path: Path) -> None:
    done = backup("restore", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}: no manifest.json in it: not a backup, or one that was not finished\n"
