"""What a command says to a person whose environment lacks something, or whose servers are away: one line, and no 0."""

import os
import subprocess
import sys

import pytest

from deploy.local.instance import PROJECT

NOWHERE = {
    "KAFKA_BOOTSTRAP": "127.0.0.1:9",
    "POSTGRES_ADMIN_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    **{
        f"{service}_{name}": value
        for service in ("GATEWAY", "SIGNALS", "STRATEGY", "RISK", "TRADING", "WALKFORWARD", "MARKETDATA")
        for name, value in (("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing"), ("PORT", "9"))
    },
}


def run(words: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", *words.split())
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    return subprocess.run(command, env=kept | variables, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("libs.common.messaging topics", "KAFKA_BOOTSTRAP"),
        ("libs.common.messaging parked list risk", "RISK_DATABASE_URL"),
        ("libs.common.schemas provision", "POSTGRES_ADMIN_URL"),
        ("libs.common.schemas migrate", "RISK_DATABASE_URL"),
        ("tools.digest", "POSTGRES_ADMIN_URL"),
    ],
)
def test_a_variable_that_is_missing_is_named(words: str, missing: str) -> None:
    done = run(words, {name: value for name, value in NOWHERE.items() if name != missing})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert missing in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "libs.common.messaging parked list risk",
        "libs.common.messaging parked discard risk key",
        "libs.common.schemas provision",
        "libs.common.schemas migrate",
        "tools.digest",
    ],
)
def test_a_server_that_is_away_is_told_of_in_one_line(words: str) -> None:
    done = run(words, NOWHERE)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    assert "does not answer" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["KAFKA_REPLICATION", "KAFKA_MIN_INSYNC"])
def test_a_number_of_nodes_that_is_none_is_named(name: str) -> None:
    done = run("libs.common.messaging topics", NOWHERE | {name: "three"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert name in done.stderr


def test_a_log_that_is_not_there_is_not_replayed() -> None:
    """It printed the digests of a service that had heard nothing, and ended with 0."""
    done = run("tools.replay no-such-backup", NOWHERE)
    assert (done.returncode, done.stderr) == (1, "no-such-backup: no kafka in it: not a backup\n")
