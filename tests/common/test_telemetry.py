import json
import subprocess
import sys

import pytest

from libs.common.telemetry import continue_trace, new_traceparent, redact


@pytest.mark.parametrize("name", ["password", "api_key", "refresh_token", "JWT_SECRET", "Authorization", "signature"])
def test_secrets_never_reach_the_log(name: str) -> None:
    assert redact(None, "info", {"event": "x", name: "hunter2"})[name] == "[redacted]"


def test_a_database_url_is_logged_without_its_password() -> None:
    event = redact(None, "info", {"event": "connect postgresql://risk:hunter2@127.0.0.1:5432/openalgo failed"})
    assert event["event"] == "connect postgresql://risk:[redacted]@127.0.0.1:5432/openalgo failed"


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1", "redis://risk:hunter@2@127.0.0.1"])
def test_a_url_without_a_user_or_with_an_at_in_its_password_is_logged_without_it(url: str) -> None:
    assert redact(None, "info", {"event": url})["event"].endswith(":[redacted]@127.0.0.1")


def test_what_is_within_an_object_or_a_list_is_redacted_as_well() -> None:
    told = {"missing": {"kafka": "ssl://risk:hunter2@k:9", "password": "hunter2"}, "seen": [{"api_key": "hunter2"}]}
    assert "hunter2" not in str(redact(None, "info", told))
    assert redact(None, "info", {"checks": {"postgres": True}, "numbers": [1]}) == {
        "checks": {"postgres": True},
        "numbers": [1],
    }


def test_a_trace_is_continued_under_a_new_span() -> None:
    parent = new_traceparent()
    child = continue_trace(parent)
    assert child[3:35] == parent[3:35]
    assert child[36:52] != parent[36:52]


@pytest.mark.parametrize("parent", [None, "", "garbage", "00-zz-yy-01", "00-" + "0" * 31 + "-1-01"])
def test_a_malformed_trace_starts_a_new_one(parent: str | None) -> None:
    assert len(continue_trace(parent)) == len(new_traceparent())


LIBRARIES = """
import logging
from libs.common.telemetry import configure_logging
configure_logging("risk", "INFO")
logging.getLogger("aiokafka").error('no "leader" at %s', "postgresql://risk:hunter2@127.0.0.1/openalgo")
logging.getLogger("httpx").info("of no concern")
try:
    raise ValueError("redis://:hunter2@127.0.0.1")
except ValueError:
    logging.getLogger("asyncio").exception("never retrieved")
"""


def test_what_libraries_say_is_an_object_a_line_as_well_and_without_secrets() -> None:
    told = subprocess.run((sys.executable, "-c", LIBRARIES), capture_output=True, text=True, check=True).stderr
    assert "hunter2" not in told
    first, second = map(json.loads, told.splitlines())
    assert (first["logger"], first["level"], first["service"]) == ("aiokafka", "error", "risk")
    assert first["event"] == 'no "leader" at postgresql://risk:[redacted]@127.0.0.1/openalgo'
    assert second["event"] == "never retrieved"
    assert "ValueError" in second["exception"]


ALARMS = """
import logging, sys
from prometheus_client import generate_latest
from libs.common.telemetry import configure_logging, log
configure_logging("risk", "INFO")
log.info("started", port=8003)
for limit in range(2):
    log.warning("watch_waits", limit_id=limit)
log.error("message_parked", key="asha")
logging.getLogger("aiokafka").error("no leader at %s", "127.0.0.1")
sys.stderr.write(generate_latest().decode())
"""


def test_what_is_warned_of_is_counted_by_its_name() -> None:
    """Some of what needs a person stood in the logs alone, where no alarm is set."""
    told = subprocess.run((sys.executable, "-c", ALARMS), capture_output=True, text=True, check=True).stderr
    assert {line for line in told.splitlines() if line.startswith("log_warnings_total")} == {
        'log_warnings_total{event="watch_waits",level="warning"} 2.0',
        'log_warnings_total{event="message_parked",level="error"} 1.0',
        'log_warnings_total{event="aiokafka",level="error"} 1.0',
    }


FLOOD = """
import logging, sys, time
from prometheus_client import generate_latest
from libs.common.telemetry import configure_logging, log
configure_logging("risk", "INFO")
time.sleep(1 - time.perf_counter() % 1)
for n in range(300):
    log.warning("dependency_unavailable", trace=n)
    logging.getLogger("aiokafka").error("no leader at %s", n)
    log.info("order_taken", n=n)
log.error("message_parked", key="asha")
time.sleep(1)
log.warning("dependency_unavailable")
logging.getLogger("aiokafka").error("no leader at %s", "127.0.0.1")
sys.stderr.write(generate_latest().decode())
"""


def test_a_flood_of_one_warning_is_written_in_part_and_counted_whole() -> None:
    """While Kafka was away, services wrote nine hundred lines a second of it."""
    done = subprocess.run((sys.executable, "-c", FLOOD), capture_output=True, text=True, check=True)
    own = [json.loads(line) for line in done.stdout.splitlines()]
    warned = [line for line in own if line["event"] == "dependency_unavailable"]
    libraries = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert (len(warned), warned[-1]["left_out"]) == (6, 295)
    assert (len(libraries), libraries[-1]["left_out"]) == (6, 295)
    assert "left_out" not in warned[0]
    assert sum(1 for line in own if line["event"] == "order_taken") == 300, "what is no warning is written"
    assert sum(1 for line in own if line["event"] == "message_parked") == 1, "another warning is written"
    assert 'log_warnings_total{event="dependency_unavailable",level="warning"} 301.0' in done.stderr
    assert 'log_warnings_total{event="aiokafka",level="error"} 301.0' in done.stderr
