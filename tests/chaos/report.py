"""docs/reliability.md, from what the scenarios of `make chaos` kept."""

import json
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.conditions import conditions
from bench.page import said, table
from deploy.local.instance import PROJECT, Instance
from libs.common.clock import SystemClock
from tests.chaos.scenario import percentile

CRASHES = "crash at every step of a message and of a call; a broker that misbehaves"
PAGE = PROJECT / "docs" / "reliability.md"
MOST_SECONDS = 2400.0
"""How long all of `make chaos` may take, its crash tests included."""
FEWEST_ORDERS, FEWEST_FAULTS, FEWEST_KILLS = 20_000, 150, 100
"""What all of it has to have seen; kills are those of services."""
KILLS = 1
"""The scenarios' number."""
Result = Mapping[str, Any]
INTRODUCTION = """# Reliability

Written by `make chaos` from what it saw. Each scenario offers orders (market, limit, stop-loss, cancels, changes) and
alerts to webhooks at a constant rate, and one more user beside them opens a position every few seconds, panics and
resets it, with a stop-loss and a target that may close it before. Once the platform bears that (for three seconds
nobody is turned away) it is harmed; then the scenario waits until all is at rest. *Orders/s* counts the orders whose
fate was told, by how long they were offered, outages included; scenarios that offer a load of their own have none.
*Lost* and *doubled* are counted by two checkers: what clients were told against the books of the API
(`tests/chaos/audit.py`), and the log against every service's tables, by code of its own (`make reconcile`,
[what it proves](reconcile.md)). *Recovery* runs from the fault to the first order that was wished after it and
accepted; where another instance had to take over, or a service was scaled, until every account had one accepted.

Scenario 6 needs no load: a process dies at every step between a message's arrival and the last trace of it, and
between a call to a broker and its answer; a broker's stub misbehaves in every way that we know; a settlement at expiry,
one by hand and a comparison with a broker lose their process at each of their steps. Each case is a fault
(`tests/common/test_crashes.py`, `tests/services/trading/test_effects.py`, `test_crashes.py` beside it).

`make chaos SEED=… SCENARIO=1,7` repeats a run's choices, or runs some. `make test` runs a short version of each.
"""


def results(home: Path) -> list[Result]:
    kept = [json.loads(path.read_text()) for path in (home / "results").glob("*.json")]
    return sorted((each for each in kept if each["full"]), key=lambda each: (each["number"], each["title"]))


def crash_points(written: Path) -> list[Result]:
    """Scenario 6 needs no stack: its tests' own report, each of them one process that dies or one broker that lies."""
    if not written.exists():
        return []
    suite = ET.parse(written).getroot().find("testsuite")  # noqa: S314
    assert suite is not None, f"{written} is no report of pytest's"
    cases = [case for case in suite.iter("testcase") if case.find("skipped") is None]
    failed = [
        case.get("name") or "" for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    figures = {"faults": len(cases), "orders": 0, "lost": 0, "doubled": 0, "alerts": 0, "seed": 0, "wrong": failed}
    figures["orders_per_s"] = None
    seconds = float(suite.get("time", "0"))
    return [{"number": 6, "title": CRASHES, "seconds": seconds, "recoveries": [], "statuses": {}, **figures}]


def render(found: Sequence[Result], known: Mapping[str, object], took: float | None) -> str:
    rows = [*map(row, found), total(found)]
    return "\n".join((INTRODUCTION, table(HEAD, rows), whole(took), notes(found), setting(found, known)))


def whole(took: float | None) -> str:
    if took is None:
        return ""
    enough = f"fewer than {FEWEST_ORDERS} orders, {FEWEST_FAULTS} faults or {FEWEST_KILLS} kills of services"
    return (
        f"\nAll of it took {took:.0f} s, scenario 6 included; more than {MOST_SECONDS:.0f} s would have failed it, "
        f"and so would {enough}.\n"
    )


HEAD = ("", "Scenario", "Faults", "Orders", "Orders/s", "Lost", "Doubled", "Recovery p50", "p99", "Passed")


def row(each: Result) -> tuple[str, ...]:
    counts = [str(each[name]) for name in ("faults", "orders", "lost", "doubled")]
    counts.insert(2, "" if each["orders_per_s"] is None else f"{each['orders_per_s']:.0f}")
    return (str(each["number"]), each["title"], *counts, *recovery(each["recoveries"]), passed(each))


def passed(each: Result) -> str:
    return "no" if each["wrong"] else "yes"


def recovery(seconds: Sequence[float]) -> tuple[str, str]:
    if not seconds:
        return "", ""
    return f"{percentile(seconds, 50):.2f} s", f"{percentile(seconds, 99):.2f} s"


def total(found: Sequence[Result]) -> tuple[str, ...]:
    sums = [str(sum(each[name] for each in found)) for name in ("faults", "orders", "lost", "doubled")]
    sums.insert(2, "")
    seconds = [each for result in found for each in result["recoveries"]]
    good = sum(1 for each in found if not each["wrong"])
    return ("", "**all**", *sums, *recovery(seconds), f"{good} of {len(found)}")


KNOWN = {
    *("number", "title", "seed", "full", "at", "seconds", "faults", "orders", "lost", "doubled", "recoveries", "wrong"),
    *("statuses", "requests", "never_answered", "alerts", "slowest_answer_s", "orders_per_s"),
}


def notes(found: Sequence[Result]) -> str:
    """What else was measured, and what was not as it should be."""
    lines = []
    for each in found:
        figures = [f"{name}: {said(value)}" for name, value in each.items() if name not in KNOWN]
        answers = f"answers {said(each['statuses'])}; {each['alerts']} alerts; " if each["statuses"] else ""
        lines.append(
            f"- **{each['number']} {each['title']}**: {'; '.join([*figures, ''])}{answers}{each['seconds']:.0f} s"
        )
        lines += [f"  - NOT AS IT SHOULD BE: {words.splitlines()[0]}" for words in each["wrong"]]
    head = "Answers are HTTP statuses; 0 is a broken connection, -1 none within eight seconds."
    return "\n".join(("\n## What was seen", "", head, "", *lines, ""))


def setting(found: Sequence[Result], known: Mapping[str, object]) -> str:
    rows = [(name, said(value)) for name, value in known.items()]
    seeds = sorted({each["seed"] for each in found} - {0})
    return f"## Conditions\n\n{table(('', ''), [*rows, ('seed', said(seeds))])}"


def duration() -> float | None:
    """Seconds since `make chaos` began with its crash tests; None where only some scenarios are run."""
    began = os.environ.get("CHAOS_BEGAN")
    return SystemClock().now().timestamp() - float(began) if began else None


def is_in_time(took: float | None) -> bool:
    return took is None or took <= MOST_SECONDS


def shortfalls(found: Sequence[Result]) -> list[str]:
    """What a whole run lacks of what it has to show, whatever its scenarios say of themselves."""
    seen = {
        "orders": (sum(each["orders"] for each in found), FEWEST_ORDERS),
        "faults": (sum(each["faults"] for each in found), FEWEST_FAULTS),
        "kills of services": (sum(each["faults"] for each in found if each["number"] == KILLS), FEWEST_KILLS),
    }
    return [f"{count} {what}, fewer than {fewest}" for what, (count, fewest) in seen.items() if count < fewest]


def write(home: Path, instance: Instance) -> bool:
    """Whether the run ended in time and, if it was whole, showed enough."""
    took = duration()
    found = sorted([*results(home), *crash_points(instance.home / "crashes.xml")], key=lambda each: each["number"])
    if found:
        PAGE.write_text(render(found, conditions(instance), took))
    wrong = [] if took is None else shortfalls(found)
    if not is_in_time(took):
        wrong.append(f"{took:.0f} s, more than {MOST_SECONDS:.0f} s")
    for each in wrong:
        sys.stdout.write(f"\nthe whole run: {each}\n")
    return not wrong
