"""The CPU time that each process of the stack has used, with the children that it lost on the way."""

import time
from dataclasses import dataclass

import psutil

from deploy.local.instance import SERVERS, SERVICES, Instance
from deploy.local.supervisor import Supervisor

Milliseconds = dict[str, float]


@dataclass(frozen=True)
class Reading:
    used: Milliseconds
    at: float


class Meter:
    """Reads the supervised programs of a running stack, and this process beside them."""

    def __init__(self, instance: Instance) -> None:
        supervisor = Supervisor(instance)
        groups = {"servers": SERVERS, "services": SERVICES}
        self.programs = {
            name: psutil.Process(supervisor.pid(group, name)) for group, names in groups.items() for name in names
        }
        self.myself = psutil.Process()

    def read(self) -> Reading:
        used = {name: tree(process) for name, process in self.programs.items()}
        return Reading(used | {"bench": tree(self.myself)}, time.monotonic())


def tree(process: psutil.Process) -> float:
    """Milliseconds of a process, its living descendants, and every child that any of them has buried.

    PostgreSQL starts a process per connection: what has ended counts through its parent.
    """
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:  # it ended since; its parent has its times now
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total * 1000


def between(first: Reading, last: Reading) -> Milliseconds:
    return {name: last.used[name] - first.used[name] for name in last.used}


def idle(first: Reading, last: Reading) -> Milliseconds:
    """Milliseconds per second of what the stack does with nobody ordering: the feed, timers, heartbeats."""
    seconds = last.at - first.at
    return {name: round(used / seconds, 1) for name, used in between(first, last).items()}
