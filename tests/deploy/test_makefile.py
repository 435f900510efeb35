"""What `make` hands on to the commands behind it."""

import ast
import subprocess
import sys

import pytest

from deploy.local.instance import PROJECT

SAY = f"{sys.executable} -c 'import sys; print(sys.argv[1:])'"


@pytest.mark.parametrize(
    ("words", "handed_on"),
    [
        (("up", f"STACK={SAY}", "SHARED_DATA=/srv/my data"), "SHARED_DATA=/srv/my data"),
        (("up", f"STACK={SAY}", "SHARED_DATA=its data"), f"SHARED_DATA={PROJECT}/its data"),
        (("backup", f"PYTHON={SAY}", "TO=/srv/a friend's"), "/srv/a friend's"),
        (("restore", f"PYTHON={SAY}", "FROM=/srv/a friend's"), "/srv/a friend's"),
    ],
    ids=["shared_data", "shared_data_here", "to", "from"],
)
def test_a_path_may_hold_blanks(words: tuple[str, ...], handed_on: str) -> None:
    """`make up SHARED_DATA='/srv/my data'` was refused: `/…/data is no choice`."""
    command = ("make", "-o", "servers", "-o", "python", *words)
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout)[-1] == handed_on
