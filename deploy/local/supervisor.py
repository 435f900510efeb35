"""The process supervisor of an instance: its configuration, and what may be asked of it."""

import contextlib
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from deploy.local.instance import PROJECT, TEMPLATES, Instance
from deploy.local.servers import Program, render

BIN = PROJECT / ".venv" / "bin"
MARK = "OPENALGO_STACK"
"""In the environment of every process of an instance, its supervisor among them: its home."""
STOPPED_WITHIN = 30.0
"""Seconds: longer than the supervisor waits before it kills (`templates/program.conf`)."""


class Supervisor:
    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.conf = instance.conf / "supervisord.conf"

    def configure(self, groups: Mapping[str, Sequence[Program]]) -> None:
        """The first groups start in this order and stop in the other; within a group all at once.

        The third and later ones share a place: a changed one would be stopped, whenever another comes or goes.
        """
        for directory in (self.instance.conf, self.instance.log, self.instance.run):
            directory.mkdir(parents=True, exist_ok=True)
        self.conf.touch(mode=0o600)
        render(
            "supervisord.conf",
            self.conf,
            home=self.instance.home,
            log=self.instance.log,
            project=PROJECT,
            run=self.instance.run,
            socket=self.instance.socket,
            supervisord_user="user=root" if os.geteuid() == 0 else "",
        )
        with self.conf.open("a") as conf:
            for priority, (group, programs) in enumerate(groups.items()):
                names = ",".join(program.name for program in programs)
                conf.write(f"\n[group:{group}]\nprograms={names}\npriority={min(priority, 2)}\n")
                conf.writelines(map(self._section, programs))

    def _section(self, program: Program) -> str:
        variables = (f"{name}={_quoted(value)}" for name, value in sorted(program.environment.items()))
        values = {
            "name": program.name,
            "command": shlex.join(program.command),
            "directory": program.directory,
            "environment": ",".join(variables),
            "stopsignal": program.stopsignal,
            "user": f"user={program.user}" if program.user else "",
            "autorestart": str(program.autorestart).lower(),
        }
        escaped = {name: str(value).replace("%", "%%") for name, value in values.items()}
        template = Template((TEMPLATES / "program.conf").read_text())
        return template.substitute(escaped, log=self.instance.log)

    def running(self) -> bool:
        return self._ask("pid").returncode == 0

    def launch(self) -> None:
        """Starts the supervisor, or has a running one take up its changed configuration."""
        self.instance.keep_offset()
        if self.running():
            self._ask("update")
            return
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        subprocess.run(
            (sys.executable, "-m", "deploy.local.supervisord", "-c", str(self.conf)),
            env=inherited | {"LANG": "C.UTF-8", MARK: str(self.instance.home)},
            cwd=PROJECT,
            check=True,
        )

    def start(self, group: str, name: str = "*") -> None:
        """What is running already goes on. Whether it is ready is another question."""
        with self._rpc() as supervisord, contextlib.suppress(xmlrpc.client.Fault):
            if name == "*":
                supervisord.supervisor.startProcessGroup(group, False)
            else:
                supervisord.supervisor.startProcess(f"{group}:{name}", False)

    def stop(self, group: str, name: str = "*") -> None:
        """Returns when all of it has ended. The supervisor is not asked to wait: it would spin on a core meanwhile, and
        what drains, and all that serves, would stand still.
        """
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):  # no supervisor: nothing runs
            with self._rpc() as supervisord, contextlib.suppress(xmlrpc.client.Fault):
                if name == "*":
                    supervisord.supervisor.stopProcessGroup(group, False)
                else:
                    supervisord.supervisor.stopProcess(f"{group}:{name}", False)
            deadline = time.monotonic() + STOPPED_WITHIN
            while time.monotonic() < deadline and self._lives(group, name):
                time.sleep(0.05)

    def _lives(self, group: str, name: str) -> bool:
        found = (each for each in self._processes_known() if each["group"] == group)
        return any(each["pid"] for each in found if name in ("*", each["name"]))

    def states(self) -> dict[str, str]:
        """Each program's state in the supervisor's words: RUNNING, STOPPED, BACKOFF, …"""
        lines = self._ask("status").stdout.splitlines() if self.running() else []
        return {name.rpartition(":")[2]: state for name, state, *_ in map(str.split, lines)}

    def pid(self, group: str, name: str) -> int:
        return int(self._ask("pid", f"{group}:{name}").stdout)

    def pids(self) -> dict[str, int]:
        """Of the programs that run, by name: asked over the socket, in a millisecond."""
        return {each["name"]: each["pid"] for each in self._processes_known() if each["pid"]}

    def since(self) -> dict[str, str]:
        """When each program that runs was started, by name: one that is younger than the others died meanwhile."""
        try:
            found = self._processes_known()
        except (FileNotFoundError, ConnectionRefusedError):  # no supervisor: nothing runs
            return {}
        moments = {each["name"]: time.gmtime(each["start"]) for each in found if each["pid"]}
        return {name: time.strftime("%Y-%m-%d %H:%M:%S UTC", moment) for name, moment in moments.items()}

    def end(self, group: str, name: str) -> None:
        """Ends one program without a last word, and keeps it ended until it is started again."""
        pid = self.pids().get(name)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with self._rpc() as supervisord, contextlib.suppress(xmlrpc.client.Fault):  # it may be dead by now
            supervisord.supervisor.stopProcess(f"{group}:{name}")

    def _processes_known(self) -> list[dict[str, Any]]:
        with self._rpc() as supervisord:
            found: Any = supervisord.supervisor.getAllProcessInfo()
        return list(found)

    def _rpc(self) -> xmlrpc.client.ServerProxy:
        return xmlrpc.client.ServerProxy("http://127.0.0.1", OverSocket(self.instance.socket))

    def shutdown(self, patience: float = 60) -> None:
        """Stops every program and the supervisor; returns when the last process is gone."""
        running = self._processes()
        if self._ask("shutdown").returncode == 0:
            self._wait_for_the_end(running, patience)
        self.end_orphans()

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = (str(BIN / "supervisorctl"), "-c", str(self.conf), *words)
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)

    def end_orphans(self) -> None:
        """A supervisor that was killed leaves its programs behind, holding their ports; one that lost its socket would
        start them again.
        """
        for asked, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 2.0)):
            running = self._processes()
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, asked)
            self._wait_for_the_end(running, patience)

    def _wait_for_the_end(self, running: Sequence[int], patience: float) -> None:
        deadline = time.monotonic() + patience
        left = set(running)
        while time.monotonic() < deadline and (left := {pid for pid in left.union(self._processes()) if runs(pid)}):
            time.sleep(0.1)

    def _processes(self) -> list[int]:
        """Processes that carry this instance's mark in their environment."""
        mark = f"{MARK}={self.instance.home}".encode()
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if carries(path, mark)]


class OverSocket(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        self._connection = host, connection
        return connection


def runs(pid: int) -> bool:
    """Who ends gives up its environment first, and holds its ports until it is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def carries(environ: Path, mark: bytes) -> bool:
    try:
        return mark in environ.read_bytes().split(b"\0")
    except OSError:  # it has ended, or it is not ours to read
        return False


def _quoted(value: str) -> str:
    """For supervisord, which knows both quotes and no way to escape them, and takes what follows a blank and one of two
    signs for a comment. Only JSON has the double ones, and its own way to write a sign.
    """
    if '"' not in value:
        return f'"{value}"'
    for sign in "'#;":
        value = value.replace(sign, f"\\u{ord(sign):04x}")
    return f"'{value}'"
