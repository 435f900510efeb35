"""The process supervisor, with a program of the test's own."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from deploy.local import __main__ as command
from deploy.local.instance import Instance
from deploy.local.servers import Program
from deploy.local.supervisor import Supervisor
from libs.common.clock import SystemClock

DRAINS = """
import signal, sys, time
def end(*_):
    print("ending", flush=True)
    time.sleep(1.5)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
TELLS = """
import json, os, time
print("told", json.loads(os.environ["DAYS"]), flush=True)
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
    said(supervisor, "ready")


def said(supervisor: Supervisor, word: str) -> None:
    log = supervisor.instance.log / "drains.log"
    deadline = time.monotonic() + 20
    while not log.exists() or word not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def process_of(supervisor: Supervisor) -> psutil.Process:
    return psutil.Process(int((supervisor.instance.run / "supervisord.pid").read_text()))


@pytest.mark.parametrize("name", ["drains", "*"])
def test_a_stop_returns_when_the_program_has_drained_and_costs_the_machine_nothing(
    supervisor: Supervisor, name: str
) -> None:
    """The supervisor spun on a core while it waited, and orders stood still during every rolling restart."""
    begun(supervisor)
    process = process_of(supervisor)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    supervisor.stop("services", name)
    assert time.monotonic() - began >= 1.5
    assert supervisor.pids() == {}
    assert sum(process.cpu_times()[:2]) - before < 0.5


def test_what_is_killed_is_started_again_at_once(supervisor: Supervisor) -> None:
    """The supervisor used to look a second later, and every order waited for it. To ask it would make it look.

    A machine that was busy with something else is measured again.
    """
    begun(supervisor)
    process = process_of(supervisor)
    assert any(three_starts(process) < 1.5 for _ in range(4))


def three_starts(process: psutil.Process) -> float:
    """Seconds that the supervisor's only program was away, killed three times."""
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
    return without


def test_a_stop_of_what_does_not_run_is_no_error(supervisor: Supervisor) -> None:
    supervisor.stop("services")
    supervisor.shutdown()
    supervisor.stop("services")


def test_a_shutdown_returns_when_the_supervisor_itself_is_gone(supervisor: Supervisor) -> None:
    """On a busy machine it outlived its programs by seconds: who started anew met the old one."""
    begun(supervisor)
    process, [pid] = process_of(supervisor), supervisor.pids().values()
    busy = threading.Thread(target=keep_from_running, args=(supervisor, process, psutil.Process(pid)))
    busy.start()
    supervisor.shutdown()
    assert not alive(process)
    busy.join()


def test_a_supervisor_that_nobody_can_ask_is_ended_with_what_it_runs(supervisor: Supervisor) -> None:
    """Its socket is gone, so it would start again whatever ends."""
    begun(supervisor)
    process, [pid] = process_of(supervisor), supervisor.pids().values()
    supervisor.instance.socket.unlink()
    supervisor.shutdown()
    assert not alive(process)
    assert not psutil.pid_exists(pid)


def keep_from_running(supervisor: Supervisor, process: psutil.Process, program: psutil.Process) -> None:
    """From when its program was asked to end until half a second after that has ended."""
    said(supervisor, "ending")
    process.suspend()
    while alive(program):
        time.sleep(0.05)
    time.sleep(0.5)
    process.resume()


def alive(process: psutil.Process) -> bool:
    """A zombie has ended: who should have taken note of it is not ours."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_status_tells_since_when_each_runs(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who died in the night and was started again looks like all the others otherwise."""
    script = supervisor.instance.home / "drains.py"
    supervisor.configure({"services": [Program("risk", (sys.executable, str(script)), supervisor.instance.home)]})
    supervisor.launch()

    def told() -> list[str]:
        monkeypatch.setattr(sys, "argv", ["deploy.local", "--instance", "test", "status"])
        command.main()
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("risk ")]

    [stopped] = told()
    assert "since" not in stopped
    supervisor.start("services", "risk")
    moment = SystemClock().now()
    [running] = told()
    assert "RUNNING" in running or "STARTING" in running
    since = datetime.strptime(running.partition("  since ")[2], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert abs(since - moment) < timedelta(seconds=10)


def test_what_an_operator_names_in_json_comes_to_the_program_as_he_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an apostrophe in the name of a holiday nothing was started, and all the stack's secrets were shown."""
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path))
    supervisor = Supervisor(Instance("test"))
    days = json.dumps({"holidays": [{"day": "2027-01-01", "name": "New Year's Day #1 ; all of 100 %"}]})
    script = tmp_path / "tells.py"
    script.write_text(TELLS)
    program = Program("drains", (sys.executable, str(script)), tmp_path, {"DAYS": days})
    supervisor.configure({"services": [program]})
    try:
        supervisor.launch()
        supervisor.start("services", "drains")
        said(supervisor, f"told {json.loads(days)}")
    finally:
        supervisor.shutdown()
