"""`python -m tools.reconcile`: what it says when it cannot prove anything."""

from pathlib import Path

import pytest

from tools.reconcile.__main__ import main

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


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", NOWHERE)
    monkeypatch.setenv("REDIS_URL", f"redis://{NOWHERE}/0")
    for service in ("gateway", "signals", "strategy", "risk", "trading", "walkforward", "marketdata"):
        monkeypatch.setenv(f"{service.upper()}_DATABASE_URL", f"postgresql://nobody@{NOWHERE}/nothing")
