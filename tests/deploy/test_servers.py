"""What the servers start with: made once, and made anew where it does not fit any more."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import environment, servers
from deploy.local.instance import JARS, PROJECT, Instance
from deploy.local.stack import Stack

MAKE_CLUSTER = """
import sys
from pathlib import Path
from deploy.local import servers
from deploy.local.instance import Instance
Instance.home = property(lambda _: Path(sys.argv[1]))
servers.postgres(Instance(), "secret")
"""


def test_kafkas_classes_are_kept_anew_where_its_jars_were_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied folder lists them in another order. Java then passes over what was kept, and says so in a log only: each
    start of Kafka took a second longer, for good.
    """
    servers.known_classes()
    copied = tmp_path / "kafka"
    copied.mkdir()
    for jar in (JARS / "kafka").glob("*.jar"):
        (copied / jar.name).symlink_to(jar)
    shutil.copy(JARS / "kafka" / "classes.jsa", copied)
    monkeypatch.setattr(servers, "JARS", tmp_path)
    backwards = ":".join(sorted(map(str, copied.glob("*.jar")), reverse=True))
    monkeypatch.setattr(servers, "JAVA", ("java", "-cp", backwards, *servers.JAVA[3:]))
    (option,) = servers.known_classes()
    java = (*servers.JAVA, *servers.KAFKA_MEMORY)
    done = subprocess.run((*java, option, "-Xshare:on", "-version"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@contextlib.contextmanager
def home_for_anybody() -> Iterator[Path]:
    """An instance's, which the user that runs PostgreSQL may enter."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        home = Path(folder)
        home.chmod(0o755)
        patched.setattr(Instance, "home", property(lambda _: home))
        yield home


@pytest.mark.servers
def test_a_cluster_whose_making_was_killed_is_made_anew() -> None:
    """From then on every `make up` found that there is no database openalgo, until all was forgotten by command."""
    with home_for_anybody() as home:
        making = subprocess.Popen((sys.executable, "-c", MAKE_CLUSTER, str(home)), cwd=PROJECT, start_new_session=True)
        while making.poll() is None and not any(home.glob("*/PG_VERSION")):
            time.sleep(0.01)
        os.killpg(making.pid, signal.SIGKILL)
        making.wait()
        made = servers.postgres(Instance(), "secret")
        single = (made.command[0], "--single", *made.command[1:], "openalgo")
        servers.quiet(single, made.user, "SELECT 1\n")


@pytest.mark.servers
def test_the_administrators_password_is_that_of_the_file_from_the_next_start_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever put a new one there, since the old one had got about, could start nothing any more."""
    monkeypatch.setenv("PORT_OFFSET", str(Instance().offset + 9))
    with home_for_anybody():
        here = Stack(elsewhere={"REDIS_URL": "", "KAFKA_BOOTSTRAP": "", "QUESTDB_URL": ""})
        for password in ("first", "second"):
            environment.write(here.instance, {**here.environment(), "POSTGRES_PASSWORD": password})
            try:
                here.start_servers()
                asyncio.run(log_in(here.environment()["POSTGRES_ADMIN_URL"]))
            finally:
                here.down()


async def log_in(url: str) -> None:
    await (await asyncpg.connect(url)).close()


def test_a_database_is_started_by_the_version_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later one came beside it with the distribution's next release, was taken, and does not read its files."""
    for version in ("9", "15", "17"):
        (tmp_path / "programs" / version / "bin").mkdir(parents=True)
        (tmp_path / "programs" / version / "bin" / "postgres").touch()
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path))
    monkeypatch.setattr(servers, "POSTGRES", tmp_path / "programs")
    data = servers.postgres_data(Instance())
    data.mkdir(parents=True)
    started = []
    try:
        for version in ("15", "16"):
            (data / "PG_VERSION").write_text(f"{version}\n")
            started.append(servers.postgres(Instance(), "secret").command[0])
    finally:
        shutil.rmtree(data.parent)  # beside the test's folder, where who runs PostgreSQL may not enter that
    assert started == [str(tmp_path / "programs" / version / "bin" / "postgres") for version in ("15", "17")]
