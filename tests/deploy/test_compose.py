"""docker-compose.yml is a valid compose file and runs the same stack as `make up`."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.local import environment, instance, stack
from libs.common.settings import KafkaSettings, kafka_of
from tools.reconcile import Sources

PROJECT = instance.PROJECT
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
CONTAINERS: dict[str, Any] = COMPOSE["services"]
ITS_WAY_IN = {name.upper() for name in KafkaSettings.model_fields} - {"KAFKA_BOOTSTRAP"}
"""Of a Kafka of somebody else's: the local stack brings its own, which asks nobody."""
JOBS = ("provision", "migrate", "topics")
OURS = (*instance.SERVICES, *JOBS, "reconcile")
FILE = re.compile(r'(?<=[" ])/[a-z]+/[a-z./]+')


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    class Elsewhere(instance.Instance):
        @property
        def home(self) -> Path:
            return home

    home = tmp_path_factory.mktemp("stack")
    return environment.load(Elsewhere())


def test_it_follows_the_compose_specification() -> None:
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_the_validation_notices_a_misspelt_key() -> None:
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    wrong = {"services": {"gateway": {"image": "x", "comand": "y"}}}
    assert not jsonschema.Draft202012Validator(schema).is_valid(wrong)


@pytest.mark.parametrize("name", instance.SERVICES)
def test_a_service_runs_by_the_command_of_the_local_stack(name: str, variables: dict[str, str]) -> None:
    local = stack.service_program(name, variables).command
    assert CONTAINERS[name]["command"].split() == ["python", *local[1:]]


def test_the_set_up_runs_the_commands_of_the_local_stack() -> None:
    assert [CONTAINERS[job]["command"] for job in JOBS] == [f"python -m {' '.join(step)}" for step in stack.SET_UP]


def test_the_checker_runs_as_on_the_local_stack_when_it_is_asked_and_is_given_what_it_reads() -> None:
    recipe = re.findall(r"^reconcile:.*\n\t@\$\(PYTHON\) (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    container = CONTAINERS["reconcile"]
    assert [" ".join(container["entrypoint"][1:3])] == recipe
    assert container["entrypoint"][3:] == ["--instance", ""]
    assert container["profiles"] == ["commands"]
    Sources.of(chosen(container["environment"]))
    assert not [name for name in container["environment"] if name.startswith(environment.SET_UP_ALONE)]


def chosen(variables: dict[str, str]) -> dict[str, str]:
    """As Compose passes them where the example is left as it is."""
    return {name: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value)) for name, value in variables.items()}


@pytest.mark.parametrize("name", OURS)
def test_whoever_asks_kafka_is_told_how_it_lets_him_in_and_the_one_beside_lets_in_everybody(name: str) -> None:
    """Who had a managed Kafka could name it to nobody."""
    given = chosen(CONTAINERS[name]["environment"])
    assert given.keys() >= ITS_WAY_IN
    assert kafka_of(given) == KafkaSettings(kafka_bootstrap="kafka:9092")


def test_every_command_that_is_told_for_containers_is_in_the_image(tmp_path: Path) -> None:
    text = "".join(page.read_text() for page in (PROJECT / "docs").glob("*.md"))
    told = re.findall(r"docker compose (?:run --rm|exec) ([a-z]+)((?: python -m [a-z.]+)?)", text)
    assert {"reconcile", "trading", "risk", "gateway", "marketdata"} <= {name for name, _ in told} <= CONTAINERS.keys()
    modules = {command.split()[-1] for _, command in told if command} | {CONTAINERS["reconcile"]["entrypoint"][2]}
    put_what_the_image_holds(tmp_path)
    for module in sorted(modules):
        found = subprocess.run(
            (sys.executable, "-c", f"import runpy; runpy.run_module({module!r})"), cwd=tmp_path, env={}, check=False
        )
        assert found.returncode == 0, module


@pytest.mark.parametrize("fails", ["run", "nothing"])
def test_whatever_becomes_of_the_copy_of_the_containers_they_run_again(fails: str, tmp_path: Path) -> None:
    """One that was taken by night, on a disk that was full, left all of it stopped."""
    page = (PROJECT / "docs" / "operations.md").read_text()
    [copying] = re.findall(r"```\n(\( set -e; to=.*?)```", page, re.DOTALL)
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$*" >>said\n[ "$1" != "$FAILS" ]\n')
    docker.chmod(0o755)
    (tmp_path / ".env").touch()
    found = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAILS": fails}
    done = subprocess.run(("bash", "-c", copying), cwd=tmp_path, env=found, check=False)
    asked = (tmp_path / "said").read_text().splitlines()
    assert (done.returncode == 0) is (fails == "nothing")
    assert (asked[0], asked[-1]) == ("compose stop", "compose up -d")


def test_the_containers_are_put_back_on_a_new_machine_and_halted_before_anything_trades(tmp_path: Path) -> None:
    """Without its secrets nothing is known of any container: the first of the commands failed, and ended the others."""
    page = (PROJECT / "docs" / "operations.md").read_text()
    [putting_back] = re.findall(r"```\n(\( set -e; from=.*?)```", page, re.DOTALL)
    docker, backup = tmp_path / "docker", tmp_path / "backups" / "…"
    docker.write_text('#!/bin/sh\n[ -e .env ] && echo "$*" >>said\n')
    docker.chmod(0o755)
    backup.mkdir(parents=True)
    (backup / ".env").touch()
    for volume in COMPOSE["volumes"]:
        (backup / f"{volume}.tar.gz").write_bytes(gzip.compress(b""))
    found = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(("bash", "-c", putting_back), cwd=tmp_path, env=found, check=True)
    *_, before, last = (tmp_path / "said").read_text().splitlines()
    assert before == "compose run --rm trading python -m services.trading halt restored"
    assert last == "compose up -d"


def put_what_the_image_holds(folder: Path) -> None:
    """As the Dockerfile does with what .dockerignore leaves."""
    left = (PROJECT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY ([a-z][^\n]*)$", (PROJECT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    for *sources, target in map(str.split, copied):
        for source in sources:
            assert f"!{source}" in left
            place = folder / target / Path(source).name if target.endswith("/") else folder / target
            if (PROJECT / source).is_dir():
                shutil.copytree(PROJECT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / source, place)


@pytest.mark.parametrize("name", instance.SERVICES)
def test_a_service_is_given_the_variables_of_the_local_stack_and_no_other(name: str, variables: dict[str, str]) -> None:
    assert set(CONTAINERS[name]["environment"]) - ITS_WAY_IN == set(environment.of_service(name, variables))


@pytest.mark.parametrize("job", JOBS)
def test_the_set_up_is_given_what_no_service_sees(job: str, variables: dict[str, str]) -> None:
    given = set(CONTAINERS[job]["environment"]) - ITS_WAY_IN
    assert {"POSTGRES_ADMIN_URL", "KAFKA_REPLICATION", "KAFKA_MIN_INSYNC"} <= given <= variables.keys()


def test_the_example_and_the_compose_file_choose_what_the_local_stack_does() -> None:
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    assert {name: example.get(name) for name in environment.CHOICES} == environment.CHOICES
    defaults = re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (PROJECT / "docker-compose.yml").read_text())
    assert {name: value for name, value in defaults if name in example} == {name: example[name] for name, _ in defaults}


@pytest.mark.parametrize("name", instance.SERVICES)
def test_a_service_sees_no_other_services_secrets(name: str, variables: dict[str, str]) -> None:
    seen = environment.of_service(name, variables)
    passwords = {value for key, value in variables.items() if key.endswith("_PASSWORD")}
    assert [password for password in passwords if any(password in value for value in seen.values())] == [
        variables[f"{name.upper()}_DATABASE_PASSWORD"]
    ]


@pytest.mark.parametrize("name", instance.SERVICES)
def test_a_service_is_asked_for_its_health_past_the_proxy_that_docker_gives_containers(name: str) -> None:
    """It was asked of the proxy, which knows no such place: nothing was ever healthy, and the edge never began."""
    port, (_, *command) = instance.SERVICES[name], CONTAINERS[name]["healthcheck"]["test"]
    elsewhere = {"PATH": os.environ["PATH"], "http_proxy": "http://127.0.0.1:1"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = [word.replace(f"localhost:{port}", f"127.0.0.1:{server.server_port}") for word in command]
        done = subprocess.run((sys.executable, *asked[1:]), env=elsewhere, capture_output=True, text=True, check=False)
        server.shutdown()
    assert done.returncode == 0, done.stderr


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


def test_the_database_is_healthy_once_it_takes_connections_from_others() -> None:
    """On a first start its image lets a server on the socket alone make the database: that one passed for ready, and
    whoever was to set it up was refused.
    """
    assert ("-h", "127.0.0.1") in pairwise(CONTAINERS["postgres"]["healthcheck"]["test"])


@pytest.mark.parametrize("job", JOBS)
def test_a_job_begins_when_every_server_that_it_asks_is_there(job: str) -> None:
    """The topics' asks PostgreSQL whether the log is whole, began as soon as Kafka was there, and ended with 1."""
    asks = {"provision": {"postgres"}, "migrate": {"postgres"}, "topics": {"kafka", "postgres"}}
    assert {name for name in waited_for(job) if name not in JOBS} == asks[job]


def test_the_image_is_made_once_by_whoever_all_that_run_it_wait_for() -> None:
    """Eleven made it at once: Docker's newer store of images ends such an `up` with `image … already exists`."""
    assert [name for name in CONTAINERS if "build" in CONTAINERS[name]] == ["provision"]
    others = [name for name in OURS if name not in ("provision", "reconcile")]
    assert [name for name in others if "provision" not in waited_for(name)] == []


def waited_for(name: str) -> dict[str, str]:
    """Everything that has to be there before it begins, and in which state."""
    found = {other: how["condition"] for other, how in CONTAINERS[name].get("depends_on", {}).items()}
    for other in list(found):
        found |= waited_for(other)
    assert set(found.values()) <= {"service_healthy", "service_completed_successfully"}
    return found


@pytest.mark.parametrize("name", instance.SERVICES)
def test_a_service_listens_where_its_health_is_asked(name: str) -> None:
    port = CONTAINERS[name]["environment"][f"{name.upper()}_PORT"]
    assert port == instance.SERVICES[name]
    assert f"http://localhost:{port}/health/ready" in CONTAINERS[name]["healthcheck"]["test"][-1]


def test_only_the_edge_is_published_and_only_on_the_loopback() -> None:
    published = {name: container["ports"] for name, container in CONTAINERS.items() if "ports" in container}
    assert published == {"edge": ["${EDGE_ADDRESS:-127.0.0.1:8000}:8000"]}


def test_the_edge_believes_what_ends_tls_before_it_about_its_clients_and_by_default_nobody() -> None:
    """It took all who came through that for one client: a hundred wrong passwords of anybody, and nobody logged in."""
    believed = "--entrypoints.web.forwardedheaders.trustedips=${EDGE_TRUSTED_PROXIES:-127.0.0.1/32}"
    assert believed in CONTAINERS["edge"]["command"]


def test_what_is_put_in_the_place_of_a_file_of_ours_is_seen_in_the_containers() -> None:
    """The edge was given its routes as one file: an update that replaced it left the edge with the old ones."""
    places = [volume.split(":")[0] for container in CONTAINERS.values() for volume in container.get("volumes", ())]
    given = [PROJECT / place for place in places if place.startswith("./")]
    assert given
    assert all(place.is_dir() for place in given)


def test_only_the_network_of_the_edge_is_believed_about_its_clients() -> None:
    [network] = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert CONTAINERS["gateway"]["environment"]["GATEWAY_TRUSTED_PROXIES"] == network["subnet"]
    assert CONTAINERS["signals"]["environment"]["SIGNALS_TRUSTED_PROXIES"] == network["subnet"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_write_nothing_and_gain_nothing(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_a_container_says_fills_no_disk(name: str) -> None:
    """By itself Docker keeps all of it for ever; this driver of its own keeps the last 100 MB of each."""
    assert CONTAINERS[name].get("logging") == {"driver": "local"}


def test_the_image_does_not_run_as_root() -> None:
    assert re.search(r"^USER [1-9]\d*$", (PROJECT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", OURS)
def test_a_volume_that_our_containers_write_belongs_to_their_user_in_the_image(name: str) -> None:
    """A new volume takes its owner from the image's directory; where there is none it is root's."""
    image = (PROJECT / "deploy" / "Dockerfile").read_text()
    [user] = re.findall(r"^USER (\d+)$", image, re.MULTILINE)
    places = [volume.rpartition("}")[2].split(":") for volume in CONTAINERS[name].get("volumes", ())]
    for _, place, *mode in places:
        assert mode == ["ro"] or f"install -d -o {user} {place}\n" in image


def test_every_variable_is_documented(variables: dict[str, str]) -> None:
    documented = set(re.findall(r"^#? ?([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    alike = {f"{name.upper()}_{each}" for name in instance.SERVICES for each in ("DATABASE_URL", "HOST", "PORT")}
    assert variables.keys() - alike <= documented


def test_every_variable_that_the_file_takes_is_in_the_example() -> None:
    taken = set(re.findall(r"\$\{([A-Z_]+)", (PROJECT / "docker-compose.yml").read_text()))
    example = (PROJECT / ".env.example").read_text()
    assert taken == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))


@pytest.mark.parametrize("name", OURS)
def test_a_file_that_a_variable_may_name_is_in_the_containers_that_are_given_it(name: str) -> None:
    """A live feed could not start: the example named /run/secrets, and nothing was mounted there."""
    example = (PROJECT / ".env.example").read_text()
    told = re.findall(r"((?:^#.*\n)+)^([A-Z_]+)=", example, re.MULTILINE)
    named = {
        path for said, variable in told if variable in CONTAINERS[name]["environment"] for path in FILE.findall(said)
    }
    mounted = [volume.rpartition("}")[2].split(":")[1] for volume in CONTAINERS[name].get("volumes", ())]
    assert any(path.startswith("/run/secrets/") for path in named) == (name == "marketdata")
    assert any(path.startswith("/run/kafka/") for path in named)
    assert [path for path in named if not path.startswith(tuple(f"{each}/" for each in mounted))] == []


def test_the_example_holds_no_secret() -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    assert {f"{name}=" for name in environment.SECRETS} <= set(lines)


def test_the_command_of_the_example_fills_the_secrets_and_chooses_nothing(tmp_path: Path) -> None:
    example = (PROJECT / ".env.example").read_text()
    [command] = re.findall(r"^#   (while .*)$", example, re.MULTILINE)
    (tmp_path / ".env.example").write_text(example)
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    filled = dict(re.findall(r"^([A-Z_]+)=(.*)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    assert len({filled[name] for name in environment.SECRETS}) == len(environment.SECRETS)
    assert min(len(filled[name]) for name in environment.SECRETS) == 48
    assert filled["KAFKA_SASL_PASSWORD"] == "", "one that nobody made, and without SASL nothing would start"
    assert {name: filled[name] for name in environment.CHOICES} == environment.CHOICES


def test_kafka_is_configured_alike() -> None:
    addresses = {"controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs"}
    local = settings("kafka.properties").items()
    given = CONTAINERS["kafka"]["environment"]
    for name, value in local:
        if name not in addresses:
            assert str(given[f"KAFKA_{name.upper().replace('.', '_')}"]) == value, name


def test_questdb_is_configured_alike() -> None:
    local = {name: value for name, value in settings("questdb.conf").items() if "bind.to" not in name}
    given = CONTAINERS["questdb"]["environment"]
    assert {name: str(value) for name, value in given.items()} == {
        f"QDB_{name.upper().replace('.', '_')}": value for name, value in local.items()
    }


def test_postgresql_is_configured_alike() -> None:
    local = {name: value.strip("'") for name, value in settings("postgresql.conf").items()}
    given = dict(flag.removeprefix("-c").split("=") for flag in CONTAINERS["postgres"]["command"][1:])
    assert given == {
        name: local[name] for name in local.keys() - {"listen_addresses", "port", "unix_socket_directories"}
    }


def test_the_jars_and_the_images_are_of_one_version() -> None:
    pom = (instance.TEMPLATES.parent / "pom.xml").read_text()
    for image, artifact in (("kafka", "kafka.version"), ("questdb", "version")):
        tag = CONTAINERS[image]["image"].split(":")[1]
        assert f"<{artifact}>{tag}</{artifact}>" in pom


def test_the_image_runs_what_the_tests_ran() -> None:
    assert pins("deploy/requirements.lock") <= pins("requirements.lock")


def settings(template: str) -> dict[str, str]:
    lines = (instance.TEMPLATES / template).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][^ ]*==[^ ]+)", (PROJECT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("edge", ["deploy/local/templates/haproxy.cfg", "deploy/traefik/routes.yml"])
def test_the_edge_gives_signals_the_alerts_alone_and_the_gateway_its_own_routes_about_them(edge: str) -> None:
    text = (PROJECT / edge).read_text()
    given = set(re.findall(r"/api/v2/webhooks[/a-z]*", text))
    assert given == {"/api/v2/webhooks/tradingview", "/api/v2/webhooks/custom/"}
