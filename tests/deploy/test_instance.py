"""Where an instance of the stack listens."""

import os
import subprocess
import sys

import pytest

from deploy.local.instance import ALL_PORTS, FURTHEST, MOST_REPLICAS, OFFSETS, PROJECT, Instance


@pytest.mark.parametrize(("given", "moved"), [(None, 0), ("", 0), ("0", 0), ("100", 100)])
def test_every_port_moves_by_the_offset_and_none_by_an_empty_one(
    given: str | None, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORT_OFFSET", raising=False)
    if given is not None:
        monkeypatch.setenv("PORT_OFFSET", given)
    assert {name: Instance().port(name) - base for name, base in ALL_PORTS.items()} == dict.fromkeys(ALL_PORTS, moved)


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", " 5", str(FURTHEST + 1)])
def test_an_offset_that_moves_no_port_ends_a_command_with_one_line_that_says_what_it_may_be(wrong: str) -> None:
    command = (sys.executable, "-m", "deploy.local", "status")
    done = subprocess.run(
        command, env={**os.environ, "PORT_OFFSET": wrong}, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"PORT_OFFSET={wrong!r} does not move ports; give a whole number from 0 to {FURTHEST}\n"


def test_with_the_largest_offset_every_port_exists() -> None:
    assert max(ALL_PORTS.values()) + max(OFFSETS.values()) + FURTHEST + 10 * MOST_REPLICAS < 65_536
