"""The four servers of the stack: how each is prepared once and which command runs it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from deploy.local.instance import JARS, TEMPLATES, Instance

KAFKA_CLUSTER = "b3BlbmFsZ28tY2x1c3Rlcg"  # 16 bytes in base64, as the storage tool wants it


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


def render(template: str, target: Path, **values: object) -> Path:
    target.write_text(Template((TEMPLATES / template).read_text()).substitute(values))
    return target


def postgres(instance: Instance, password: str) -> Program:
    """PostgreSQL refuses to run as root: then it runs as the distribution's own user `postgres`."""
    binaries = postgres_binaries()
    user = "postgres" if os.geteuid() == 0 else None
    data = postgres_data(instance)
    if not (data / "PG_VERSION").exists():
        create_cluster(binaries, data, password, user)
    render("postgresql.conf", data / "postgresql.conf", postgres_port=instance.port("postgres"))
    command = (str(binaries / "postgres"), "-D", str(data))
    return Program("postgres", command, data, stopsignal="INT", user=user)


def postgres_binaries() -> Path:
    """Debian keeps a server's programs off the path, one directory for each major version."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4]))
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
    print(f"postgres: creating the database cluster in {data}")
    directory(data).chmod(0o700)
    if user is not None:
        shutil.chown(data, user, user)
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write(password)
        secret.flush()
        if user is not None:
            shutil.chown(secret.name, user)
        options = ("--auth=scram-sha-256", f"--pwfile={secret.name}", "--encoding=UTF8", "--locale=C.UTF-8")
        initdb = (str(binaries / "initdb"), "--pgdata", str(data), "--username=postgres", *options)
        quiet(initdb, user)
    single = (str(binaries / "postgres"), "--single", "-D", str(data), "postgres")
    quiet(single, user, "CREATE DATABASE openalgo\n")


def redis(instance: Instance) -> Program:
    data = directory(instance.home / "redis")
    conf = render("redis.conf", instance.conf / "redis.conf", redis_port=instance.port("redis"), data=data)
    return Program("redis", ("redis-server", str(conf)), data)


def kafka(instance: Instance) -> Program:
    data = directory(instance.home / "kafka")
    ports = {f"{name}_port": instance.port(name) for name in ("kafka", "kafka_controller")}
    conf = render("kafka.properties", instance.conf / "kafka.properties", data=data, **ports)
    java = ("java", "-cp", f"{JARS / 'kafka'}/*", f"-Dlog4j2.configurationFile={TEMPLATES / 'log4j2.yaml'}")
    if not (data / "meta.properties").exists():
        print("kafka: formatting its storage")
        quiet((*java, "kafka.tools.StorageTool", "format", "-t", KAFKA_CLUSTER, "-c", str(conf)))
    memory = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
    return Program("kafka", (*java, *memory, "kafka.Kafka", str(conf)), data)


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
