"""What a command says to a person whose environment lacks something, or whose servers are away: one line, and no 0."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.instance import PROJECT
from libs.common.messaging import admin
from libs.common.messaging.parked import Arrival, park
from libs.common.settings import KafkaSettings
from libs.common.testing import NOON
from tests.common.ledger import Ledger
from tools import digest, replay

SERVICES = {"tools.digest": digest.SERVICES, "tools.replay": replay.SERVICES}
NOWHERE = {
    "KAFKA_BOOTSTRAP": "127.0.0.1:9",
    "POSTGRES_ADMIN_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    **{
        f"{service}_{name}": value
        for service in ("GATEWAY", "SIGNALS", "STRATEGY", "RISK", "TRADING", "WALKFORWARD", "MARKETDATA")
        for name, value in (("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing"), ("PORT", "9"))
    },
}


def left_alone(words: str, variables: dict[str, str]) -> tuple[int, str]:
    """Its exit code, and what it complains of, when whoever read what it tells has gone, as `head` does."""
    theirs, ours = os.pipe()
    os.close(theirs)
    command = (sys.executable, "-u", "-m", *words.split())
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    try:
        done = subprocess.run(
            command, env=kept | variables, cwd=PROJECT, stdout=ours, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(ours)
    return done.returncode, done.stderr


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


@pytest.mark.parametrize("words", ["tools.digest riks", "tools.replay no-such-backup riks"])
def test_a_service_that_there_is_not_has_no_digest(words: str) -> None:
    """It had that of nothing, which equals itself: a comparison of two said that all was well."""
    done = run(words, NOWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith(": riks is none of " + ", ".join(SERVICES[words.split()[0]]))


@pytest.mark.parametrize("service", ["signals", "strategy", "walkforward"])
def test_a_service_that_has_no_commands_does_not_start_for_one(service: str) -> None:
    """`rebuild`, which others have, began an instance in the shell that took partitions of those that trade."""
    done = run(f"services.{service} rebuild", NOWHERE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"python -m services.{service}\n"


def test_a_service_that_there_is_not_has_no_parked_messages() -> None:
    """It asked for variables that no document names."""
    done = run("libs.common.messaging parked list riks", NOWHERE)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("riks is none of gateway, ")


def test_a_folder_for_the_dump_that_cannot_be_made_is_named() -> None:
    done = run("tools.digest --dump /proc/dump", NOWHERE)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "/proc/dump" in done.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("up FEED", "argument NAME=VALUE: FEED is no choice"),
        ("test", "`test` runs a command beside the servers, and none was given"),
        ("test no-such-command", "`test` runs a command beside the servers, and there is no no-such-command"),
    ],
)
def test_words_that_begin_nothing_are_refused_before_anything_is_started(words: str, named: str) -> None:
    done = run(f"deploy.local --instance test {words}", {"PORT_OFFSET": os.environ.get("PORT_OFFSET", "")})
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[-1].endswith(named)
    assert "Starting" not in done.stdout


@pytest.mark.parametrize("there", [False, True])
def test_a_log_that_is_not_there_or_was_not_finished_is_not_replayed(there: bool, tmp_path: Path) -> None:
    """It printed the digests of a service that had heard nothing, or half of it, and ended with 0."""
    backup = tmp_path / "backup"
    if there:
        (backup / "kafka").mkdir(parents=True)
    done = run(f"tools.replay {backup}", NOWHERE)
    assert done.returncode == 1
    assert done.stderr == f"{backup}: no manifest.json in it: not a backup, or one that was not finished\n"


def test_a_status_that_nobody_reads_to_its_end_is_no_fault() -> None:
    """`make status | head` ended with a traceback."""
    variables = {"PORT_OFFSET": os.environ.get("PORT_OFFSET", "")}
    assert left_alone("deploy.local --instance test status", variables) == (0, "")


@pytest.mark.servers
async def test_parked_messages_that_nobody_reads_to_their_end_are_no_fault(ledger: Ledger) -> None:
    """With some hundreds of them `parked list … | head` said that PostgreSQL does not answer."""
    connection = await ledger.connect()
    arrival = Arrival("requests", 0, 0, "asha", "DepositRequested", [], b"{}")
    await park(connection, [(replace(arrival, offset=n), "a bug") for n in range(500)], NOON)
    await connection.close()
    name = ledger.name
    variables = {f"{name.upper()}_DATABASE_URL": ledger.url, f"{name.upper()}_PORT": "9"}
    told = await asyncio.to_thread(left_alone, f"libs.common.messaging parked list {name}", variables)
    assert told == (0, "")


@pytest.mark.servers
async def test_a_parked_message_is_listed_shown_whole_and_retried_by_command(ledger: Ledger) -> None:
    """Of a key that has none, as by a slip, nothing at all was said: as of one whose messages are empty."""
    headers = [("ce_type", b"DepositRequested"), ("ce_source", b"/services/gateway")]
    arrival = Arrival("requests", 3, 17, "asha", "DepositRequested", headers, b'{"account_id": "asha", "amount": 13}')
    connection = await ledger.connect()
    await park(connection, [(arrival, "thirteen is unlucky")], NOON)
    name = ledger.name
    variables = {f"{name.upper()}_DATABASE_URL": ledger.url, f"{name.upper()}_PORT": "9"}

    async def told(words: str) -> list[str]:
        done = await asyncio.to_thread(run, f"libs.common.messaging parked {words}", variables)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    [listed, count] = await told(f"list {name}")
    assert "asha  DepositRequested  requests/3@17  thirteen is unlucky" in listed
    assert count == "1 parked"
    shown = await told(f"show {name} asha")
    assert shown[:2] == ["DepositRequested at requests/3@17", "  reason: thirteen is unlucky"]
    assert "'ce_source': '/services/gateway'" in shown[2]
    assert shown[3:] == ['  value: {"account_id": "asha", "amount": 13}', "1 parked of asha"]
    assert await told(f"show {name} ravi") == ["0 parked of ravi"]
    assert await told(f"retry {name} asha") == ["1 messages of asha will be handled again within seconds"]
    assert await connection.fetchval("SELECT retry_requested FROM message_parked")
    await connection.close()


@pytest.mark.servers
def test_topics_that_are_on_fewer_nodes_than_is_asked_for_are_told_of() -> None:
    """It said that topics are as declared: whoever went on to three nodes had each order on one of them."""
    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    admin.ensure_topics(KafkaSettings())
    three = {"KAFKA_BOOTSTRAP": bootstrap, "KAFKA_REPLICATION": "3", "KAFKA_MIN_INSYNC": "2"}
    done = run("libs.common.messaging topics", three)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stdout + done.stderr
    assert "on 1 of 3 nodes" in done.stderr
