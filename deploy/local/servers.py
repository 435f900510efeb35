"""The four servers of the stack: how each is prepared once and which command runs it."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from deploy.local.instance import JARS, TEMPLATES, Instance

KAFKA_CLUSTER = "b3BlbmFsZ28tY2x1c3Rlcg"  # 16 bytes in base64, as the storage tool wants it
JAVA = ("java", "-cp", f"{JARS / 'kafka'}/*", f"-Dlog4j2.configurationFile={TEMPLATES / 'log4j2.yaml'}")
KAFKA_MEMORY = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
STARTED_WITHIN = 60.0
POSTGRES = Path("/usr/lib/postgresql")
SET_TO = "password-set-to"
"""In a database's directory: the digest of its administrator's password, as it was set last."""


@dataclass(frozen=True)
class Program:
    """One process of the stack, as the supervisor runs it."""

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stopsignal: str = "TERM"
    user: str | None = None
    autorestart: bool = True


def prepare(instance: Instance, variables: Mapping[str, str], names: Collection[str]) -> list[Program]:
    """Writes each server's configuration and makes its data directory, if it has none yet."""
    instance.conf.mkdir(parents=True, exist_ok=True)
    ways = {
        "postgres": lambda: postgres(instance, variables["POSTGRES_PASSWORD"]),
        "redis": lambda: redis(instance),
        "kafka": lambda: kafka(instance),
        "questdb": lambda: questdb(instance),
    }
    return [ways[name]() for name in names]


def wipe(instance: Instance) -> None:
    """Forgets what the servers stored; the instance's secrets and logs stay."""
    homes = [instance.home / name for name in ("redis", "kafka", "questdb")]
    for data in (*homes, postgres_data(instance)):
        shutil.rmtree(data, ignore_errors=True)
    instance.restoring.unlink(missing_ok=True)


def render(template: str, target: Path, **values: object) -> Path:
    target.write_text(Template((TEMPLATES / template).read_text()).substitute(values))
    return target


def postgres(instance: Instance, password: str) -> Program:
    user = postgres_user()
    data = postgres_data(instance)
    if not (data / "PG_VERSION").exists():
        create_cluster(postgres_binaries(), data, password, user)
    render("postgresql.conf", data / "postgresql.conf", postgres_port=instance.port("postgres"))
    command = (str(postgres_of(data) / "postgres"), "-D", str(data))
    return Program("postgres", command, data, stopsignal="INT", user=user)


def postgres_user() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as the distribution's own user `postgres`."""
    return "postgres" if os.geteuid() == 0 else None


def set_password(instance: Instance, password: str) -> None:
    """The administrator's, before the database is started: who has changed it in the `env` file need not know the old
    one, which nobody may have any more.
    """
    data, user = postgres_data(instance), postgres_user()
    known, digest = data / SET_TO, hashlib.sha256(password.encode()).hexdigest()
    if known.exists() and known.read_text() == digest:
        return
    literal = password.replace("'", "''")
    single = (str(postgres_of(data) / "postgres"), "--single", "-D", str(data), "postgres")
    quiet(single, user, f"ALTER ROLE postgres PASSWORD '{literal}'\n")
    known.write_text(digest)
    if user is not None:
        shutil.chown(known, user, user)


def postgres_of(data: Path) -> Path:
    """The programs of the version that made these files: a later one, which came beside it with the distribution's
    next release, does not read them.
    """
    same = POSTGRES / (data / "PG_VERSION").read_text().strip() / "bin"
    return same if (same / "postgres").exists() else postgres_binaries()


def postgres_binaries() -> Path:
    """Debian keeps a server's programs off the path, one directory for each major version."""
    debian = sorted(POSTGRES.glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("postgres")
    if found is None:
        raise SystemExit("no PostgreSQL server found: run deploy/local/install.sh")
    return Path(found).parent


def postgres_data(instance: Instance) -> Path:
    """In the instance's home; under /var/lib if the user `postgres` may not enter it, as in a clone below /root."""
    if os.geteuid() != 0 or may_enter("postgres", directory(instance.home)):
        return instance.home / "postgres"
    return Path("/var/lib") / f"openalgo-{instance.digest}" / "postgres"


def may_enter(user: str, directory: Path) -> bool:
    test = ("test", "-x", str(directory))
    done = subprocess.run(test, user=user, group=user, extra_groups=[], cwd="/", check=False)
    return done.returncode == 0


def create_cluster(binaries: Path, data: Path, password: str, user: str | None) -> None:
    """In its place once it is whole: whoever was stopped before begins anew."""
    print(f"postgres: creating the database cluster in {data}")
    fresh = data.with_name(f"{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    directory(fresh).chmod(0o700)
    if user is not None:
        shutil.chown(fresh, user, user)
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write(password)
        secret.flush()
        if user is not None:
            shutil.chown(secret.name, user)
        options = ("--auth=scram-sha-256", f"--pwfile={secret.name}", "--encoding=UTF8", "--locale=C.UTF-8")
        initdb = (str(binaries / "initdb"), "--pgdata", str(fresh), "--username=postgres", *options)
        quiet(initdb, user)
    single = (str(binaries / "postgres"), "--single", "-D", str(fresh), "postgres")
    quiet(single, user, "CREATE DATABASE openalgo\n")
    fresh.replace(data)


def redis(instance: Instance) -> Program:
    data = directory(instance.home / "redis")
    conf = render("redis.conf", instance.conf / "redis.conf", redis_port=instance.port("redis"), data=data)
    return Program("redis", ("redis-server", str(conf)), data)


def kafka(instance: Instance) -> Program:
    data = directory(instance.home / "kafka")
    ports = {f"{name}_port": instance.port(name) for name in ("kafka", "kafka_controller")}
    conf = render("kafka.properties", instance.conf / "kafka.properties", data=data, **ports)
    if not (data / "meta.properties").exists():
        print("kafka: formatting its storage")
        format_storage(conf)
    return Program("kafka", (*JAVA, *KAFKA_MEMORY, *known_classes(), "kafka.Kafka", str(conf)), data)


def format_storage(conf: Path) -> None:
    quiet((*JAVA, "kafka.tools.StorageTool", "format", "-t", KAFKA_CLUSTER, "-c", str(conf)))


def known_classes() -> tuple[str, ...]:
    """The option that has Java load Kafka's classes as an earlier run left them: it starts with a quarter less of CPU.
    The image in docker-compose.yml brings such a file; here the first start makes it, beside the jars that it is of.
    Java takes it only as the Java and from the folder that it was made by: after an update or a move it is made anew.
    """
    archive = JARS / "kafka" / "classes.jsa"
    option = f"-XX:SharedArchiveFile={archive}"
    if not succeeds((*JAVA, *KAFKA_MEMORY, option, "-Xshare:on", "-version")):
        print("kafka: keeping its classes, for quicker starts")
        with tempfile.TemporaryDirectory(dir=JARS) as home:
            noted = note_classes(Path(home))
            if noted is None:
                print("kafka: they could not be kept, which only costs a second at each start")
                return ()
            noted.replace(archive)
    return (option,)


def note_classes(home: Path) -> Path | None:
    """The classes that an empty Kafka has loaded once it listens; None if it did not, or would not tell."""
    port, controller_port = free_ports()
    conf = home / "kafka.properties"
    render("kafka.properties", conf, data=home / "data", kafka_port=port, kafka_controller_port=controller_port)
    format_storage(conf)
    archive = home / "classes.jsa"
    command = (*JAVA, *KAFKA_MEMORY, f"-XX:ArchiveClassesAtExit={archive}", "kafka.Kafka", str(conf))
    with (home / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=home) as running:
        deadline = time.monotonic() + STARTED_WITHIN
        while running.poll() is None and not listens(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
    return archive if archive.exists() else None


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def questdb(instance: Instance) -> Program:
    data = directory(instance.home / "questdb")
    conf = directory(data / "conf")
    ports = {f"{name}_port": instance.port(name) for name in ("questdb", "questdb_pg")}
    render("questdb.conf", conf / "server.conf", **ports)
    render("questdb-log.conf", conf / "log.conf")
    exports = ("--add-exports", "java.base/jdk.internal.math=io.questdb")
    memory = ("-Xms128m", "-Xmx768m")
    main = ("-p", str(JARS / "questdb"), "-m", "io.questdb/io.questdb.ServerMain", "-d", str(data))
    return Program("questdb", ("java", *memory, *exports, *main), data)


def directory(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def succeeds(command: tuple[str, ...]) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def quiet(command: tuple[str, ...], user: str | None = None, said: str | None = None) -> None:
    """Runs a set-up command, as `user` if given; what it printed is shown only if it failed."""
    done = subprocess.run(
        command,
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if done.returncode != 0:
        raise SystemExit(f"{Path(command[0]).name} failed:\n{done.stdout}")
