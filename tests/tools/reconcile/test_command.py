"""`python -m tools.reconcile`: what it says when it cannot prove anything."""

import pytest

from tools.reconcile.__main__ import main

NOWHERE = "127.0.0.1:9"


def test_an_instance_that_was_never_started_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--instance", "never-started"]) == 2
    assert "is not set: `make up` starts a stack" in capsys.readouterr().err


def test_a_database_that_does_not_answer_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", NOWHERE)
    monkeypatch.setenv("REDIS_URL", f"redis://{NOWHERE}/0")
    for service in ("gateway", "signals", "strategy", "risk", "trading", "walkforward", "marketdata"):
        monkeypatch.setenv(f"{service.upper()}_DATABASE_URL", f"postgresql://nobody@{NOWHERE}/nothing")
    assert main(["--instance", ""]) == 2
    assert "the database of gateway does not answer" in capsys.readouterr().err
