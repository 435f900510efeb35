"""`python -m bench.page`: writes docs/performance.md from the newest figures."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.profile.measure import LIBRDKAFKA, OTHER_THREADS
from bench.profile.stages import Stage
from bench.report import MEASURED, cell
from deploy.local.instance import PROJECT, Instance

PAGE = PROJECT / "docs" / "performance.md"
Json = dict[str, Any]

TARGETS = (
    ("200 orders/s, request to acceptance, p95", "order_path.p95_ms", "≤ 50 ms"),
    ("200 orders/s, request to acceptance, p99", "order_path.p99_ms", "≤ 100 ms"),
    ("200 orders/s, request to the fill on the WebSocket, p95", "fill_to_websocket.p95_ms", ""),
    ("200 orders/s, request to the fill on the WebSocket, p99", "fill_to_websocket.p99_ms", ""),
    ("200 orders/s, CPU of all processes per order, ms", "order_path.cpu_ms_per_order", ""),
    ("one order at a time, p50", "single.p50_ms", "≤ 30 ms"),
    ("saturation, orders/s with p95 ≤ 150 ms", "saturation.rate", "≥ 600"),
    ("saturation, p95", "saturation.p95_ms", "≤ 150 ms"),
    ("saturation, CPU of all processes per order, ms", "saturation.cpu_ms_per_order", "≤ 4"),
    ("orders lost or duplicated", "order_path.lost", "0"),
    ("a page of a book of 10,000 orders, p95", "books.page.p95_ms", "≤ 20 ms"),
    ("100 orders/s alone, p95", "books.orders_alone.p95_ms", ""),
    ("100 orders/s beside a client that polls that book, p95", "books.orders_beside_polling.p95_ms", "as alone"),
    ("alert accepted at 100/s, p99", "webhook.accepted.p99_ms", "≤ 50 ms"),
    ("alert to venue request at 100/s, p95", "webhook.to_venue.p95_ms", "≤ 80 ms"),
    ("revaluation of 100,000 open positions, p95", "revaluation.p95_ms", "≤ 10 ms"),
    ("instrument dump of 113,520 rows read, seconds", "contracts.load.seconds", "≤ 10"),
    ("instrument dump of 113,520 rows read, peak memory, MiB", "contracts.load.peak_mib", "≤ 500"),
    ("the same judged, merged and published the first time, seconds", "contracts.take_over.first_s", ""),
    ("search over 200,000 instruments, beginnings, p95", "contracts.search_prefix.p95_ms", "≤ 20 ms"),
    ("search over 200,000 instruments, misspelled, p95", "contracts.search_fuzzy.p95_ms", "≤ 20 ms"),
    ("ticks from a feed's process into QuestDB, each second for half a minute", "ingest.written_per_s", "≥ 50000"),
    ("of those lost", "ingest.lost", "0"),
    ("the most of them in a second", "ingest.most.written_per_s", ""),
    ("ticks lost by kill -9 of marketdata and of QuestDB", "ingest.killed.lost", "0"),
    ("history of 1,000,000 candles as CSV, seconds", "history.csv.seconds", "≤ 3"),
    ("the same as Parquet, seconds", "history.parquet.seconds", "≤ 3"),
    ("the same adjusted for a split and a dividend, as CSV, seconds", "history.adjusted_csv.seconds", "≤ 3"),
    ("the same, adjusted, as Parquet, seconds", "history.adjusted_parquet.seconds", "≤ 3"),
    ("by how much the gateway grew meanwhile, MB", "history.csv.gateway_grew_mb", "flat"),
    ("volatility and Greeks of a 400-strike chain, p95", "chain_kernel.p95_ms", "≤ 2 ms"),
    ("NIFTY's option chain over the API, p95", "chain_whole.p95_ms", ""),
    ("quotes of 500 symbols, p95", "quotes_bulk.p95_ms", "≤ 50 ms"),
    (
        "prices to 200 WebSocket clients at 110,000 messages/s offered, delivered",
        "stream.at_110000.messages_per_s",
        "≥ 100000",
    ),
    ("the same at 150,000", "stream.at_150000.messages_per_s", ""),
    ("a quote on Kafka to its 200 clients at 20,000 messages/s, p99", "stream.at_20000.p99_ms", "≤ 50 ms"),
    ("a tick in the feed to its clients, p99 (simulator)", "ticks.p99_ms", "≤ 50 ms"),
    ("an idle WebSocket client among 5,000, KiB", "stream.idle.kb_each", "≤ 30"),
    (
        "search over 200,000 instruments, by underlying, expiry, strike, p95",
        "contracts.search_filtered.p95_ms",
        "≤ 20 ms",
    ),
)
INTRODUCTION = """# Performance

Written by `python -m bench.page` from what `make bench` measured on the running stack, everything on one machine:
seven services, Kafka, PostgreSQL, Redis, QuestDB, the feed and the load generator.
[How we measure](decisions/0007-how-we-measure.md) says what the figures mean.
"""
PROFILED = """\
py-spy looked at one process after the other, {samples_per_s} times a second for {seconds} s at {rate:.0f} orders/s
({samples} samples). Each counts for the innermost stage that its stack tells; together they share out what the
process uses per order while nobody looks. Samples in which it waited for a core are left out. The stacks are kept
as `.local/bench/profile/*.raw`, from which every flame-graph viewer (speedscope, flamegraph.pl) draws the graph.
"""
FUNCTIONS = 15
LEAST = 0.005
"""Milliseconds; less is shown as nothing."""


def render(figures: Json) -> str:
    parts = (INTRODUCTION, targets(figures), cost(figures), stages(figures), steps(figures), conditions(figures))
    return "\n".join(part for part in parts if part)


def targets(figures: Json) -> str:
    rows = [(what, cell(find(figures, path)) or "not measured", aim) for what, path, aim in TARGETS]
    return table(("What", "Measured", "Aim"), rows)


def cost(figures: Json) -> str:
    """Milliseconds of CPU per order, process by process."""
    steady, most = (find(figures, f"{part}.cpu_ms") or {} for part in ("order_path", "saturation"))
    rows = [(name, cell(steady.get(name)), cell(most.get(name))) for name in steady or most]
    heading = "## What an order costs, in milliseconds of CPU\n"
    return f"{heading}\n{table(('Process', 'at 200/s', 'at saturation'), rows)}" if rows else ""


def stages(figures: Json) -> str:
    """Milliseconds of CPU per order by stage of the road and by process, and the functions that had most."""
    profile = figures.get("profile", {})
    found: Json = {name: each["stages"] for name, each in profile.get("processes", {}).items()}
    if not found:
        return ""
    by_stage = {
        stage: [each.get(stage, 0.0) for each in found.values()]
        for stage in (*map(str, Stage), LIBRDKAFKA, OTHER_THREADS)
    }
    rows = [
        (stage, *(cell(ms) if ms >= LEAST else "" for ms in (*row, sum(row))))
        for stage, row in by_stage.items()
        if sum(row) >= LEAST
    ]
    sums = [sum(each.values()) for each in found.values()]
    total = ("all of it", *map(cell, sums), cell(sum(sums)))
    most: Counter[tuple[str, str, str]] = Counter()
    for process in profile["processes"].values():
        for each in process["functions"]:
            most[each["function"], each["file"], each["stage"]] += each["cpu_ms"]
    functions = [
        (f"`{function}` ({file})", stage, cell(ms)) for (function, file, stage), ms in most.most_common(FUNCTIONS)
    ]
    seen = ", ".join(
        f"{name} {each['busy_by_samples']:.2f} ({each['busy_by_kernel']:.2f})"
        for name, each in profile["processes"].items()
    )
    return "\n".join(
        (
            "## Where an order's CPU goes, by process and stage\n",
            PROFILED.format(**profile, samples=sum(each["samples"] for each in profile["processes"].values())),
            table(("Milliseconds per order", *found, "together"), [*rows, total]),
            "The functions with most of their own, in all of these processes together (`write`: to a socket):\n",
            table(("Function", "Stage", "ms"), functions),
            f"How much of the time each was seen running (and how much of a core the kernel says it used): {seen}.\n",
        )
    )


def steps(figures: Json) -> str:
    taken = find(figures, "saturation.steps") or []
    names = ("offered", "rate", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_order", "lost", "duplicated")
    rows = [tuple(cell(step[name]) for name in names) for step in taken]
    return f"## Rising rates\n\n{table(names, rows)}" if rows else ""


def conditions(figures: Json) -> str:
    known = figures.get("conditions", {})
    rows = [(name, said(value)) for name, value in known.items()]
    return f"## Conditions\n\n{table(('', ''), rows)}{elsewhere(figures)}"


def elsewhere(figures: Json) -> str:
    """Which parts another commit or another feed gave than the order path."""
    known = figures.get("conditions", {})
    others: dict[tuple[str, ...], list[str]] = {}
    for part, of in figures.get(MEASURED, {}).items():
        if any(of[name] != known.get(name) for name in ("commit", "feed")):
            others.setdefault((of["at"][:16], of["commit"], of["feed"], said(of["load_before"])), []).append(part)
    rows = [(", ".join(parts), *of) for of, parts in others.items()]
    return f"\nMeasured otherwise:\n\n{table(('Part', 'at', 'commit', 'feed', 'load before'), rows)}" if rows else ""


def said(value: object) -> str:
    match value:
        case Mapping():
            return ", ".join(f"{name} {each}" for name, each in value.items())
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def find(figures: Json, path: str) -> Any:
    found: Any = figures
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


if __name__ == "__main__":
    PAGE.write_text(render(json.loads((Instance().home / "bench" / "latest.json").read_text())))
    print(f"wrote {PAGE.relative_to(PROJECT)}")
