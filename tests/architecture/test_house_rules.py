"""Rules of the house that no linter knows."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (".py", ".toml", ".yml", ".yaml", ".sh", ".md", ".json", ".cfg", ".lock", ".xml", "Makefile", "Dockerfile")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if name.endswith(SOURCE) and (ROOT / name).exists()]


def matching(pattern: str) -> list[str]:
    expression = re.compile(pattern)
    me = Path(__file__)
    return [
        f"{file.relative_to(ROOT)}:{n}: {line.strip()[:100]}"
        for file in tracked()
        if file != me
        for n, line in enumerate(file.read_text(errors="replace").splitlines(), start=1)
        if expression.search(line)
    ]


def test_no_registry_host_or_machine_path_is_in_the_project() -> None:
    hosts = r"pypi\.org|files\.pythonhosted|repo1?\.maven|registry\.npmjs|deb\.debian"
    assert matching(hosts + r"|(^|[\s\"'=(])/(work|root|home/\w+)/") == []


def test_no_rule_is_silenced_without_naming_it() -> None:
    assert matching(r"type: ignore($|[^\[])|# noqa($|[^:])|except Exception: *pass") == []


def test_no_test_is_left_for_later() -> None:
    assert matching(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|pytest\.mark\.xfail") == []


def test_nobody_waits_by_what_loses_a_cancellation() -> None:
    """asyncio.wait_for of Python 3.11 does, when what it waits for ends in that moment; asyncio.timeout does not."""
    assert [line for line in matching(r"\basyncio\.wait_for\(") if line.startswith("services/")] == []


def test_decisions_have_a_number_of_their_own_and_are_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(folder.glob("0*.md"))
    titles = [file.read_text().splitlines()[0].removeprefix("# ") for file in files]
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    assert [int(title.partition(". ")[0]) for title in titles] == list(range(1, len(files) + 1))
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert listed == list(zip(titles, (file.name for file in files), strict=True))


def test_no_page_points_to_a_page_that_is_not_there() -> None:
    for page in tracked():
        if page.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:\s]+)\)", page.read_text()):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} points to {target}"


def test_openalgo_867_1402_1722_no_service_mixes_green_threads_with_its_event_loop() -> None:
    """Greenlets, threads and asyncio in one process: dead feeds, hung logins, stuck locks after hours.

    SQLAlchemy's asyncio is greenlets too: migrations may, services may not. (structlog only asks which one it is in.)
    """
    apps = sorted(f"services.{file.parent.name}.app" for file in (ROOT / "services").glob("*/app.py"))
    assert len(apps) == 7
    assert loaded_with(*apps) & {"eventlet", "gevent", "sqlalchemy"} == set()


def test_no_service_loads_what_only_development_has() -> None:
    """pandas, on which the library of holidays stands, is a third of a start (tools/holidays.py)."""
    started = loaded_with(*(f"services.{file.parent.name}.__main__" for file in (ROOT / "services").glob("*/app.py")))
    assert "libs.common.holidays" in started
    assert started & {"pandas", "exchange_calendars", "pytest", "hypothesis"} == set()


def test_who_has_no_routes_starts_without_what_routes_need() -> None:
    """It is a fifth of the CPU of a start, while orders wait for it."""
    started = loaded_with(*(f"services.{name}.__main__" for name in ("risk", "strategy", "walkforward")))
    assert "libs.common.process" in started
    assert started & {"fastapi", "email_validator", "opentelemetry", "jwt", "redis", "websockets"} == set()


def test_nothing_is_installed_that_structlog_would_load_into_every_service() -> None:
    """It does so wherever it finds them, to colour what nobody sees."""
    locked = (ROOT / "requirements.lock").read_text() + (ROOT / "deploy" / "requirements.lock").read_text()
    assert re.findall(r"^(?:rich|better-exceptions)==.*", locked, re.MULTILINE) == []


def loaded_with(*modules: str) -> set[str]:
    """The modules that a process has which imports these."""
    words = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
