"""The process supervisor, with a program of the test's own."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.instance import Instance
from deploy.local.servers import Program
from deploy.local.supervisor import Supervisor

DRAINS = """
import signal, sys, time
def end(*_):
    time.sleep(1.5)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path))
    supervisor = Supervisor(Instance("test"))
    script = tmp_path / "drains.py"
    script.write_text(DRAINS)
    supervisor.configure({"services": [Program("drains", (sys.executable, str(script)), tmp_path)]})
    supervisor.launch()
    yield supervisor
    supervisor.shutdown()


def begun(supervisor: Supervisor) -> None:
    supervisor.start("services", "drains")
    log = supervisor.instance.log / "drains.log"
    deadline = time.monotonic() + 20
    while not log.exists() or "ready" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["drains", "*"])
def test_a_stop_returns_when_the_program_has_drained_and_costs_the_machine_nothing(
    supervisor: Supervisor, name: str
) -> None:
    """The supervisor spun on a core while it waited, and orders stood still during every rolling restart."""
    begun(supervisor)
    process = psutil.Process(int((supervisor.instance.run / "supervisord.pid").read_text()))
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    supervisor.stop("services", name)
    assert time.monotonic() - began >= 1.5
    assert supervisor.pids() == {}
    assert sum(process.cpu_times()[:2]) - before < 0.5


def test_what_is_killed_is_started_again_at_once(supervisor: Supervisor) -> None:
    """The supervisor used to look a second later, and every order waited for it. To ask it would make it look."""
    begun(supervisor)
    process = psutil.Process(int((supervisor.instance.run / "supervisord.pid").read_text()))
    without = 0.0
    for _ in range(3):
        time.sleep(1.2)
        (killed,) = process.children()
        killed.kill()
        at = time.monotonic()
        while process.children() in ([killed], []):
            assert time.monotonic() - at < 20
            time.sleep(0.01)
        without += time.monotonic() - at
    assert without < 1.5


def test_a_stop_of_what_does_not_run_is_no_error(supervisor: Supervisor) -> None:
    supervisor.stop("services")
    supervisor.shutdown()
    supervisor.stop("services")
