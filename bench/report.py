"""The figures for people, as a table, and for programs, as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.local import kept

Figures = dict[str, object]

LATENCY = ("rate", "p50_ms", "p95_ms", "p99_ms", "p999_ms")
MEASURED = "measured"


def keep(path: Path, results: Mapping[str, object], measured: Mapping[str, object] | None = None) -> None:
    """Adds these results to the file: a sub-run replaces its own and leaves the others. Of each it is kept when and
    on what it was measured, since the others may be of another day, another commit or another feed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    known = kept.facts(path)
    if measured:
        known[MEASURED] = known.get(MEASURED, {}) | {part: dict(measured) for part in results}
    kept.keep(path, json.dumps(known | dict(results), indent=2, default=str) + "\n")


def show(results: Mapping[str, object]) -> None:
    latencies = {name: flat for name, flat in sections(results).items() if "p50_ms" in flat}
    if latencies:
        print(f"\n{'':26}" + "".join(f"{name:>10}" for name in LATENCY))
    for name, figures in latencies.items():
        print(f"{name:26}" + "".join(f"{cell(figures.get(column)):>10}" for column in LATENCY))
    for name, figures in sections(results).items():
        said = ", ".join(f"{word} {cell(figures[word])}" for word in figures if word not in LATENCY)
        if said:
            print(f"\n{name}: {said}")
    print()


def sections(results: Mapping[str, object]) -> dict[str, Figures]:
    """Nested figures as `webhook.accepted`, each with its plain values only."""
    found: dict[str, Figures] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            plain = {word: each for word, each in value.items() if not isinstance(each, Mapping | list)}
            if plain:
                found[name] = plain
            nested = {f"{name}.{word}": each for word, each in value.items() if isinstance(each, Mapping)}
            found |= sections(nested)
    return found


def cell(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.2f}" if value < 100 else f"{value:.0f}"
        case _:
            return str(value)
