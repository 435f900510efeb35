"""Where an instance of the stack lives and listens: `local` for people, the others for tests; all may run at once."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.local.kept import keep

PROJECT = Path(__file__).resolve().parents[2]
JARS = PROJECT / ".local" / "jars"
TEMPLATES = Path(__file__).parent / "templates"

SERVICES = {
    "gateway": 8000,
    "signals": 8001,
    "trading": 8002,
    "risk": 8003,
    "strategy": 8004,
    "marketdata": 8005,
    "walkforward": 8006,
}
SERVERS = {
    "postgres": 15432,
    "redis": 16379,
    "kafka": 19092,
    "questdb": 19000,
}
SECOND_PORTS = {"kafka_controller": 19093, "questdb_pg": 18812, "edge": 8090}
ALL_PORTS = SERVICES | SERVERS | SECOND_PORTS
MOST_REPLICAS = 4
"""Instances of one service on this machine: the first is named as the service, the next `gateway-1`, `gateway-2`, …"""
OFFSETS = {"local": 0, "test": 10_000, "chaos": 5_000, "cluster": 12_000}
"""All below 32768, where the kernel begins to lend ports to clients."""
FURTHEST = 30_000
"""The largest PORT_OFFSET with which every port of every instance exists."""


@dataclass(frozen=True)
class Instance:
    """`PORT_OFFSET` moves every port, for a second clone on the same machine; a stack that runs stays where it is."""

    name: str = "local"

    @property
    def home(self) -> Path:
        return PROJECT / ".local" if self.name == "local" else PROJECT / ".local" / self.name

    @property
    def env_file(self) -> Path:
        return self.home / "env"

    @property
    def demo_file(self) -> Path:
        """The demo user's login, for people and `make demo`."""
        return self.home / "demo.json"

    @property
    def restoring(self) -> Path:
        """There while a restore is under way, or was broken off: from which backup."""
        return self.home / "restoring"

    @property
    def conf(self) -> Path:
        return self.home / "conf"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def socket(self) -> Path:
        """The supervisor's; the kernel allows a socket's path some 100 characters."""
        path = self.run / "supervisor.sock"
        if len(str(path)) < 100:
            return path
        return Path(tempfile.gettempdir()) / f"openalgo-{self.digest}.sock"

    @property
    def digest(self) -> str:
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:12]

    def port(self, name: str, number: int = 0) -> int:
        """Of a server, or of a service's instance: the first has number 0, the next ones listen ten ports further."""
        base = ALL_PORTS[name]
        return base + OFFSETS[self.name] + self.offset + 10 * number

    @property
    def offset(self) -> int:
        """`PORT_OFFSET`; where it is not given, or empty, that of the stack which runs, else 0."""
        given = os.environ.get("PORT_OFFSET")
        if given:
            return _checked(given)
        try:
            return int(self._kept_offset.read_text())
        except FileNotFoundError:
            return 0

    def keep_offset(self) -> None:
        """The stack runs: whatever is asked of it now is asked at these ports."""
        keep(self._kept_offset, str(self.offset))

    def forget_offset(self) -> None:
        self._kept_offset.unlink(missing_ok=True)

    @property
    def _kept_offset(self) -> Path:
        return self.run / "port-offset"

    def url(self, name: str, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.port(name, number)}"


def _checked(text: str) -> int:
    """What moves no port ends the command, whichever it is, with one line."""
    if not (text.isascii() and text.isdigit() and int(text) <= FURTHEST):
        raise SystemExit(f"PORT_OFFSET={text!r} does not move ports; give a whole number from 0 to {FURTHEST}")
    return int(text)


def replica(name: str) -> tuple[str, int]:
    """The service and the number of a program: `gateway` is the gateway's number 0, `gateway-2` its number 2."""
    service, _, number = name.partition("-")
    return service, int(number or 0)
