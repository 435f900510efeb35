"""What is kept of a measurement, and what the page says of it."""

import json
from pathlib import Path

from bench.page import render
from bench.report import keep

PROCESS = {
    "samples": 10,
    "busy_by_samples": 0.41,
    "busy_by_kernel": 0.25,
    "stages": {"handlers and domain": 0.5, "event loop and sockets": 0.25, "other threads": 0.01},
    "functions": [{"function": "write", "file": "libc.so.6", "stage": "event loop and sockets", "cpu_ms": 0.2}],
}
PROFILE = {"rate": 200.0, "seconds": 20, "samples_per_s": 100, "processes": {"risk": PROCESS, "trading": PROCESS}}


def test_a_part_that_is_measured_again_replaces_itself_alone_and_says_on_what(tmp_path: Path) -> None:
    latest = tmp_path / "bench" / "latest.json"
    keep(latest, {"ticks": {"p99_ms": 40}}, {"commit": "a", "feed": "simulator"})
    keep(latest, {"order_path": {"p95_ms": 50}, "single": {}}, {"commit": "b", "feed": "replay"})
    keep(latest, {"order_path": {"p95_ms": 45}}, {"commit": "c", "feed": "replay"})
    keep(latest, {}, {"commit": "d", "feed": "replay"})
    kept = json.loads(latest.read_text())
    assert kept["ticks"] == {"p99_ms": 40}
    assert kept["order_path"] == {"p95_ms": 45}
    assert {part: of["commit"] for part, of in kept["measured"].items()} == {
        "ticks": "a",
        "single": "b",
        "order_path": "c",
    }


def test_a_file_that_was_broken_off_is_written_anew(tmp_path: Path) -> None:
    """Each part of every later `make bench` ended with a traceback of JSON, after its minutes of measuring."""
    latest = tmp_path / "latest.json"
    latest.write_text('{"ticks": {')
    keep(latest, {"single": {"p95_ms": 50}})
    assert json.loads(latest.read_text()) == {"single": {"p95_ms": 50}}


def test_the_page_names_the_parts_that_another_commit_or_feed_gave() -> None:
    run = {"at": "2026-11-21T10:00:00+00:00", "load_before": [0.5, 1.25]}
    page = render(
        {
            "conditions": {"commit": "b", "feed": "replay"},
            "ticks": {"p99_ms": 40.0},
            "measured": {
                "ticks": {**run, "commit": "b", "feed": "simulator"},
                "chain_whole": {**run, "commit": "a", "feed": "replay"},
                "quotes_bulk": {**run, "commit": "a", "feed": "replay"},
                "order_path": {**run, "commit": "b", "feed": "replay"},
            },
        }
    )
    assert "| a tick in the feed to its clients, p99 (simulator) | 40.00 | ≤ 50 ms |" in page
    assert "| ticks | 2026-11-21T10:00 | b | simulator | 0.5, 1.25 |" in page
    assert "| chain_whole, quotes_bulk | 2026-11-21T10:00 | a | replay | 0.5, 1.25 |" in page
    assert "| order_path |" not in page


def test_the_profile_adds_up_over_stages_and_processes() -> None:
    page = render({"profile": PROFILE})
    assert "| Milliseconds per order | risk | trading | together |" in page
    assert "| handlers and domain | 0.50 | 0.50 | 1.00 |" in page
    assert "| all of it | 0.76 | 0.76 | 1.52 |" in page
    assert "risk 0.41 (0.25), trading 0.41 (0.25)." in page
    assert "| `write` (libc.so.6) | event loop and sockets | 0.40 |" in page


def test_a_page_without_a_profile_has_no_table_of_it() -> None:
    assert "by process and stage" not in render({"conditions": {}})
