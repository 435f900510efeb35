import pytest

from libs.common.telemetry import continue_trace, new_traceparent, redact


@pytest.mark.parametrize("name", ["password", "api_key", "refresh_token", "JWT_SECRET", "Authorization", "signature"])
def test_secrets_never_reach_the_log(name: str) -> None:
    assert redact(None, "info", {"event": "x", name: "hunter2"})[name] == "[redacted]"


def test_a_database_url_is_logged_without_its_password() -> None:
    event = redact(None, "info", {"event": "connect postgresql://risk:hunter2@127.0.0.1:5432/openalgo failed"})
    assert event["event"] == "connect postgresql://risk:[redacted]@127.0.0.1:5432/openalgo failed"


def test_a_trace_is_continued_under_a_new_span() -> None:
    parent = new_traceparent()
    child = continue_trace(parent)
    assert child[3:35] == parent[3:35]
    assert child[36:52] != parent[36:52]


@pytest.mark.parametrize("parent", [None, "", "garbage", "00-zz-yy-01", "00-" + "0" * 31 + "-1-01"])
def test_a_malformed_trace_starts_a_new_one(parent: str | None) -> None:
    assert len(continue_trace(parent)) == len(new_traceparent())
