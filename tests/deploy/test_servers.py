"""What the servers start with: made once, and made anew where it does not fit any more."""

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local import servers
from deploy.local.instance import JARS


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
