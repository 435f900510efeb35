"""A sound history breaks no rule, and every rule was checked."""

from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.world import expired_world
from tools.reconcile import Rule


async def test_a_sound_history_breaks_no_rule() -> None:
    report = await check(expired_world().settle())
    assert report.passed, report.text()
    assert all(report.findings.checked[rule] for rule in Rule if rule is not Rule.CACHE)
