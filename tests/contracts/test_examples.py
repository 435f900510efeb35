"""Old examples parse for ever: a message once written is read by every later version."""

from pathlib import Path

import pytest

import services
from libs.common import topology

EXAMPLES = Path(__file__).parent / "examples"
MESSAGES = {m.__name__: m for t in topology.topics(topology.services(services)) for m in t.carries}


@pytest.mark.parametrize("name", MESSAGES)
def test_every_contract_has_an_example_that_parses_and_survives_the_round_trip(name: str) -> None:
    files = sorted(EXAMPLES.glob(f"{name}.json")) + sorted(EXAMPLES.glob(f"{name}.*.json"))
    assert files, f"write tests/contracts/examples/{name}.json"
    for file in files:
        message = MESSAGES[name].model_validate_json(file.read_text())
        assert MESSAGES[name].model_validate_json(message.model_dump_json()) == message


def test_no_example_is_left_behind() -> None:
    assert {f.name.split(".")[0] for f in EXAMPLES.glob("*.json")} <= set(MESSAGES)
