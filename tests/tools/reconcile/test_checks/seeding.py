"""Corruptions: one thing gone wrong in a sound history, which the check must name by the rule that it breaks.

A message too many, a message missing, a message or a row that says something else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Options, Report, Rule, reconcile

NOWHERE = UUID(int=7)
Seed = Callable[[World], None]


async def check(world: World, at: datetime | None = None, **more: Any) -> Report:
    now = (at or world.now) + timedelta(seconds=1)
    return await reconcile(world.sources(**more), Options(now=now, wait_s=0))


@dataclass(frozen=True)
class Corruption:
    rule: Rule
    words: str
    seed: Seed
    before_settling: bool
    of: Callable[[], World] = busy_world

    def __str__(self) -> str:
        return str(self.seed.__name__)

    async def is_named(self) -> None:
        world = self.of()
        if self.before_settling:
            self.seed(world)
            world.settle()
        else:
            self.seed(world.settle())
        report = await check(world)
        assert report.exit_code == 1
        assert self.rule in report.broken, report.text()
        assert self.words in report.text(), report.text()


class Corruptions(list[Corruption]):
    """Those of one subject, in a world of its own."""

    def __init__(self, world: Callable[[], World] = busy_world) -> None:
        super().__init__()
        self._world = world

    def of(self, rule: Rule, words: str, *, made_by_the_platform: bool = False) -> Callable[[Seed], Seed]:
        """`made_by_the_platform`: its tables tell the same wrong story as its log."""

        def keep(seed: Seed) -> Seed:
            self.append(Corruption(rule, words, seed, made_by_the_platform, self._world))
            return seed

        return keep
