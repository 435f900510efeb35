"""What `make` and the end-to-end tests ask of an instance of the stack: start, watch, stop."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from http.client import HTTPException

from deploy.local import environment
from deploy.local.edge import edge
from deploy.local.instance import ALL_PORTS, MOST_REPLICAS, PROJECT, SERVERS, SERVICES, Instance, replica
from deploy.local.servers import Program, listens, postgres_binaries, prepare, set_password
from deploy.local.supervisor import Supervisor

SET_UP = (
    ("libs.common.schemas", "provision"),
    ("libs.common.schemas", "migrate"),
    ("libs.common.messaging", "topics"),
)
PATIENCE = 90.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the machine is set up with


class NotReadyError(Exception):
    """Something did not come up in time; says what, and the last lines it logged."""


class Stack:
    """Every method may be called again on a stack that is already there.

    `elsewhere` is the environment of servers that stand elsewhere, such as a cluster's KAFKA_BOOTSTRAP: none of our own
    is started in their place.
    """

    def __init__(self, name: str = "local", elsewhere: Mapping[str, str] | None = None) -> None:
        self._elsewhere = elsewhere or {}
        self._servers = [name for name in SERVERS if not any(key.startswith(name.upper()) for key in self._elsewhere)]
        self.instance = Instance(name)
        self.supervisor = Supervisor(self.instance)
        self.more: list[tuple[str, int]] = []
        """Further instances of a service, beside its first: (service, number)."""
        self.has_edge = False
        self._overrides: Mapping[str, str] = {}

    def environment(self) -> dict[str, str]:
        return {**environment.load(self.instance), **self._elsewhere}

    def start_servers(self) -> None:
        begins = not self.supervisor.running()
        if begins:
            self.supervisor.end_orphans()
            self._check_ports()
        self._configure()
        if begins and "postgres" in self._servers:
            set_password(self.instance, self.environment()["POSTGRES_PASSWORD"])
        self.supervisor.launch()
        self.supervisor.start("servers")
        self._await(self._servers, self.answers)

    def ensure_restored(self) -> None:
        """What a restore left when it was broken off is neither the old state nor the backup's, and not halted."""
        if self.instance.restoring.exists():
            source = self.instance.restoring.read_text()
            raise NotReadyError(f"a restore was broken off, so nothing may trade: `make restore FROM={source}` again")

    def set_up(self) -> None:
        """Databases, migrations, topics: commands that change nothing where nothing is missing."""
        for module, command in SET_UP:
            self.execute((sys.executable, "-m", module, command))

    def start_services(self, overrides: Mapping[str, str] | None = None) -> None:
        """Starts the services, and restarts those whose environment the overrides change; what is added later has
        the same overrides.
        """
        self._overrides = overrides or {}
        self._configure()
        self.supervisor.launch()
        self.supervisor.start("services")
        self._await(SERVICES, self.ready)

    def add(self, *instances: tuple[str, int]) -> None:
        """Starts further instances, one after the other: a start takes a core, and those that serve need the other one.

        Nobody starts them again when they die: another has to take over.
        """
        for instance in instances:
            self.more += [] if instance in self.more else [instance]
            self._configure()
            self.supervisor.launch()
            name = "{}-{}".format(*instance)
            self.supervisor.start(name)
            self._await([name], lambda each: self.ready(*replica(each)))

    def remove(self, *instances: tuple[str, int]) -> None:
        """Stops further instances, as a scale-down does: each is asked to end, and drains."""
        for service, number in instances:
            self.supervisor.stop(f"{service}-{number}")
        self.more = [each for each in self.more if each not in instances]
        self._configure()
        self.supervisor.launch()

    def scale(self, service: str, count: int) -> list[str]:
        """Run so many instances of a service, and no more; their names (`gateway`, `gateway-1`), all of them ready."""
        if not 1 <= count <= MOST_REPLICAS:
            raise ValueError(f"{count} instances of {service}: 1 to {MOST_REPLICAS} run here")
        here = {number for name, number in self.more if name == service}
        self.remove(*((service, number) for number in here if number >= count))
        self.add(*((service, number) for number in range(1, count) if number not in here))
        return [f"{service}-{number}" if number else service for number in range(count)]

    def start_edge(self) -> str:
        """One address for all instances of the gateway and of signals, which leaves out who dies or drains; its URL."""
        self.has_edge = True
        self._configure()
        self.supervisor.launch()
        self.supervisor.start("edge")
        self._await(["edge"], self.answers)
        return self.instance.url("edge")

    def restart(self, name: str) -> None:
        """Drain, stop and start one service, or a further instance (`gateway-1`), and wait until it is ready."""
        group = "services" if name in SERVICES else name
        self.supervisor.stop(group, name)
        self.supervisor.start(group, name)
        service, number = replica(name)
        self._await([name], lambda _: self.ready(service, number))

    def stop_services(self) -> None:
        self.supervisor.stop("services")

    def kill(self, service: str) -> None:
        """As the machine might: the supervisor brings it back."""
        os.kill(self.supervisor.pid("services", service), signal.SIGKILL)

    def down(self) -> None:
        self.supervisor.shutdown()
        self.instance.forget_offset()

    def complete(self) -> bool:
        """All of it runs, and is ours: another clone's stack may listen at the same ports."""
        return self.supervisor.running() and all(map(self.answers, self._servers)) and all(map(self.ready, SERVICES))

    def execute(self, command: Sequence[str]) -> None:
        """Runs a command of the project with this instance's environment."""
        subprocess.run(command, env=os.environ | self.environment(), cwd=PROJECT, check=True)

    def answers(self, server: str) -> bool:
        port = self.instance.port(server)
        match server:
            case "postgres":
                return accepts_queries(port)
            case "questdb":
                return http_ok(f"{self.instance.url(server)}/ping")
            case _:
                return listens(port)

    def ready(self, service: str, number: int = 0) -> bool:
        return http_ok(f"{self.instance.url(service, number)}/health/ready")

    def _check_ports(self) -> None:
        taken = [str(port) for port in map(self.instance.port, ALL_PORTS) if listens(port)]
        if taken:
            raise NotReadyError(f"ports {', '.join(taken)} are in use already; PORT_OFFSET=100 moves all of ours")

    def _configure(self) -> None:
        variables = {**self.environment(), **self._overrides}
        programs = prepare(self.instance, variables, self._servers)
        services = [service_program(name, variables) for name in SERVICES]
        more = {f"{name}-{number}": [self._another(name, number, variables)] for name, number in self.more}
        if self.has_edge:
            more["edge"] = [edge(self.instance)]
        self.supervisor.configure({"servers": programs, "services": services, **more})

    def _another(self, name: str, number: int, variables: Mapping[str, str]) -> Program:
        """The instance's number is its identity in the consumer group."""
        own = {f"{name.upper()}_PORT": str(self.instance.port(name, number)), "INSTANCE_ID": str(number)}
        program = service_program(name, {**variables, **own})
        return replace(program, name=f"{name}-{number}", autorestart=False)

    def _await(self, names: Iterable[str], is_there: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        missing = list(names)
        while missing := [name for name in missing if not is_there(name)]:
            if time.monotonic() > deadline:
                raise NotReadyError("\n".join(map(self._last_words, missing)))
            time.sleep(0.1)

    def _last_words(self, name: str) -> str:
        log = self.instance.log / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
        state = self.supervisor.states().get(name, "not started")
        return "\n".join((f"{name} is not ready ({state}); the end of {log}:", *lines))


def service_program(name: str, variables: Mapping[str, str]) -> Program:
    return Program(
        name,
        (sys.executable, "-m", f"services.{name}"),
        PROJECT,
        environment.of_service(name, variables),
    )


def accepts_queries(port: int) -> bool:
    command = (str(postgres_binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port))
    return subprocess.run(command, check=False).returncode == 0


def http_ok(url: str) -> bool:
    try:
        with DIRECT.open(url, timeout=2):
            return True
    except (OSError, HTTPException):
        return False
