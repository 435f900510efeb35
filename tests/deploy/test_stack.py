"""Instances come and go, with programs of the test's own in the place of services."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.instance import Instance
from deploy.local.servers import Program
from deploy.local.stack import Stack


class SlowStack(Stack):
    """What it starts only sleeps, and is not ready before it was asked three times."""

    def __init__(self) -> None:
        super().__init__("test")
        self.asked: Counter[str] = Counter()
        self.beside: dict[str, set[str]] = {}
        """What ran while it was waited for an instance."""

    def _configure(self) -> None:
        names = [f"{service}-{number}" for service, number in self.more]
        self.supervisor.configure({name: [Program(name, ("sleep", "60"), self.instance.home)] for name in names})

    def ready(self, service: str, number: int = 0) -> bool:
        name = f"{service}-{number}"
        self.asked[name] += 1
        self.beside.setdefault(name, set()).update(self.supervisor.pids())
        return self.asked[name] > 2


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowStack]:
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path))
    stack = SlowStack()
    yield stack
    stack.supervisor.shutdown()


def test_instances_are_added_one_after_the_other(stack: SlowStack) -> None:
    """Two that started at once took both cores: orders were turned away as too many, for longer than they may wait."""
    stack.add(("trading", 1), ("trading", 2))
    assert stack.beside == {"trading-1": {"trading-1"}, "trading-2": {"trading-1", "trading-2"}}
