"""`python -m tools.reconcile`: what it says when it cannot prove anything."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.instance import PROJECT
from tools.reconcile.__main__ import main
from tools.reconcile.rows import SERVICES

NOWHERE = "127.0.0.1:9"


def test_an_instance_that_was_never_started_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--instance", "never-started"]) == 2
    assert "is not set: `make up` starts a stack" in capsys.readouterr().err


def test_a_database_that_does_not_answer_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch)
    assert main(["--instance", ""]) == 2
    assert "the database of gateway does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--answered", "--explained", "--seen", "--json"])
def test_a_file_that_is_not_there_says_nothing_about_the_stack(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback ended with 1, which says that a rule is broken."""
    elsewhere(monkeypatch)
    assert main(["--instance", "", option, str(tmp_path / "nothing" / "here")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(tmp_path / "nothing") in said


def test_a_folder_is_no_place_for_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known before the log is read; it was found out after, by a traceback in the place of the report, with 1."""
    elsewhere(monkeypatch)
    assert main(["--instance", "", "--json", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"reconcile: {tmp_path}: a folder; name a file for the report\n"


def test_notes_that_cannot_be_read_say_nothing_about_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(monkeypatch)
    notes = tmp_path / "notes.jsonl"
    for line in (
        "201",
        "{",
        '{"order_id": "7", "status": 201}',
        '{"order_id": "0190a1f2-7c00-7000-8000-000000000001"}',
    ):
        notes.write_text(line + "\n")
        assert main(["--instance", "", "--answered", str(notes)]) == 2
        assert f"{notes}, line 1" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--answered", "--explained", "--seen"])
def test_a_file_that_is_no_text_says_nothing_about_the_stack(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback ended with 1, which says that a rule is broken."""
    elsewhere(monkeypatch)
    file = tmp_path / "file"
    file.write_bytes(b"\xff\xfe")
    assert main(["--instance", "", option, str(file)]) == 2
    assert capsys.readouterr().err == f"reconcile: {file}: no text\n"


def test_a_cache_whose_address_is_none_says_nothing_about_the_stack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(monkeypatch)
    monkeypatch.setenv("REDIS_URL", "localhost")
    assert main(["--instance", ""]) == 2
    assert capsys.readouterr().err.startswith("reconcile: REDIS_URL: ")


@pytest.mark.parametrize("words", ["--wait nan", "--wait inf", "--wait -1", "--grace nan", "--trail -1"])
def test_seconds_that_never_end_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It looked for a moment of rest for ever."""
    with pytest.raises(SystemExit) as refused:
        main(words.split())
    assert refused.value.code == 2
    assert words.split()[0] in capsys.readouterr().err.splitlines()[-1]


def test_whoever_stops_it_hears_no_traceback() -> None:
    """It ended with one, as if it had found something."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        urls = {f"{each.upper()}_DATABASE_URL": f"postgresql://nobody@{place}/nothing" for each in SERVICES}
        command = (sys.executable, "-m", "tools.reconcile", "--instance", "")
        variables = {**os.environ, **urls, "KAFKA_BOOTSTRAP": NOWHERE, "REDIS_URL": f"redis://{NOWHERE}/0"}
        checker = subprocess.Popen(command, cwd=PROJECT, env=variables, stderr=subprocess.PIPE, text=True)
        with checker, silent.accept()[0]:
            checker.send_signal(signal.SIGINT)
            assert "Traceback" not in checker.communicate(timeout=30)[1]
    assert checker.returncode == 130


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", NOWHERE)
    monkeypatch.setenv("REDIS_URL", f"redis://{NOWHERE}/0")
    for service in SERVICES:
        monkeypatch.setenv(f"{service.upper()}_DATABASE_URL", f"postgresql://nobody@{NOWHERE}/nothing")
