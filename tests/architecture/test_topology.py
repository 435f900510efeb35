"""The manifests, taken together, must close."""

import json
from pathlib import Path

import pytest

import services
from libs.common import topology
from libs.common.contracts.base import Event, Message, Request, Topic
from libs.common.messaging.admin import all_topics

EVERY = topology.services(services)
ROOT = Path(__file__).resolve().parents[2]
REDRAW = "run: make topology"


def carries(topic: Topic, kind: type[Message]) -> bool:
    return all(issubclass(message, kind) for message in topic.carries)


def test_a_topic_carries_events_or_requests_never_both() -> None:
    for topic in topology.topics(EVERY):
        assert carries(topic, Event) or carries(topic, Request), topic.name


def test_events_have_one_writer() -> None:
    for topic in topology.topics(EVERY):
        if carries(topic, Event):
            assert len(topology.writers(EVERY, topic)) == 1, topic.name


def test_requests_have_one_reader() -> None:
    for topic in topology.topics(EVERY):
        if carries(topic, Request):
            assert len(topology.readers(EVERY, topic)) == 1, topic.name


def test_a_topic_is_named_after_the_service_that_owns_it() -> None:
    for topic in topology.topics(EVERY):
        owners = topology.writers if carries(topic, Event) else topology.readers
        assert owners(EVERY, topic) == [topic.name.split(".")[0]]


def test_every_declared_topic_has_a_writer_and_a_reader() -> None:
    unread = {
        "marketdata.candles.v1",
        "marketdata.contract-changes.v1",
        "marketdata.master-downloads.v1",
        "marketdata.quarantine.v1",
        "risk.watches.v1",
    }
    """Written for analysts; and for the day when risk is built anew."""
    for topic in all_topics():
        assert topology.writers(EVERY, topic), f"nobody writes {topic.name}"
        assert topology.readers(EVERY, topic) or topic.name in unread, f"nobody reads {topic.name}"


def test_requests_are_handled_transactionally() -> None:
    for topic in topology.topics(EVERY):
        if carries(topic, Request):
            assert topology.deciders(EVERY, topic), f"{topic.name} is only a stream"


def test_every_request_type_has_a_handler() -> None:
    for topic in topology.topics(EVERY):
        for message in topic.carries if carries(topic, Request) else ():
            handlers = [s.name for s in EVERY for c in s.consumes if c.message is message]
            assert len(handlers) == 1, message.__name__


def test_only_prices_and_entity_state_are_streams() -> None:
    """Nothing that moves money may be at-least-once."""
    prices = {"marketdata.ticks.v1", "marketdata.quotes.v1", "marketdata.watched.v1", "marketdata.chains.v1"}
    allowed = prices | {"marketdata.contracts.v1", "gateway.watches.v1"}
    for service in EVERY:
        assert {s.topic.name for s in service.streams} <= allowed, service.name
        needs = {"marketdata.price-requests.v1"}
        """Whoever stands by hears them too."""
        assert {s.topic.name for s in service.follows} <= allowed | needs, service.name


def test_topics_keyed_alike_are_partitioned_alike() -> None:
    """So that one instance owns all of an account, or all of an instrument."""
    for key in ("account_id", "instrument"):
        assert len({t.partitions for t in all_topics() if t.key == key}) == 1


def test_a_service_is_named_after_its_folder() -> None:
    assert {s.name for s in EVERY} == {p.parent.name for p in (ROOT / "services").glob("*/app.py")}


def test_every_service_has_its_readme_and_its_rooms() -> None:
    for service in EVERY:
        folder = ROOT / "services" / service.name
        for room in ("README.md", "__init__.py", "__main__.py", "app.py"):
            assert (folder / room).exists(), f"{service.name} lacks {room}"
        assert len((folder / "README.md").read_text().splitlines()) <= 30, f"{service.name}/README.md is long"


def test_the_printed_map_is_current() -> None:
    assert (ROOT / "docs" / "topology.md").read_text() == topology.table(EVERY), REDRAW


def test_the_asyncapi_document_is_current() -> None:
    assert (ROOT / "docs" / "events" / "asyncapi.yaml").read_text() == topology.asyncapi(EVERY), REDRAW


@pytest.mark.parametrize("name", topology.schemas(EVERY))
def test_openalgo_207_a_contract_changes_compatibly_or_gets_a_new_version(name: str) -> None:
    file = ROOT / "docs" / "events" / "schemas" / f"{name}.json"
    assert file.exists(), REDRAW
    schema = topology.schemas(EVERY)[name]
    assert topology.breaking(json.loads(file.read_text()), schema) == []
    assert file.read_text() == topology.text(schema), REDRAW


def test_removing_a_field_or_requiring_a_new_one_is_called_breaking() -> None:
    old: topology.Schema = {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}
    assert topology.breaking(old, old) == []
    assert topology.breaking(old, {"properties": {"a": {"type": "string"}}}) == ["message: field b is gone"]
    retyped = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    assert topology.breaking(old, retyped) == ["message: field b changed its type"]
    grown = {"properties": {**old["properties"], "c": {"type": "string"}}, "required": ["a", "c"]}
    assert topology.breaking(old, grown) == ["message: new field c has no default"]
    assert topology.breaking(old, {**grown, "required": ["a"]}) == []
