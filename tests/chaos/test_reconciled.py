"""After all of it: the log and every service's tables tell one story."""

import pytest

from tests.chaos.scenario import AT_REST_SECONDS, Chaos
from tools.reconcile import Options, Sources, reconcile


@pytest.mark.scenario(99, last=True)
async def test_after_everything_nothing_is_lost_and_nothing_is_doubled(chaos: Chaos) -> None:
    report = await reconcile(Sources.of(chaos.stack.environment()), Options(wait_s=AT_REST_SECONDS))
    assert report.passed, report.text()
    assert report.orders >= chaos.orders, f"of the scenarios' {chaos.orders} orders it saw {report.orders}"
