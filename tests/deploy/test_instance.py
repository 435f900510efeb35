"""Where an instance of the stack listens."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import __main__ as command
from deploy.local import bootstrap, environment
from deploy.local.instance import ALL_PORTS, FURTHEST, MOST_REPLICAS, OFFSETS, PROJECT, Instance
from services.marketdata.settings import FeedKind


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path))
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.mark.parametrize(("given", "moved"), [(None, 0), ("", 0), ("0", 0), ("100", 100)])
def test_every_port_moves_by_the_offset_and_none_by_an_empty_one(
    given: str | None, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORT_OFFSET", raising=False)
    if given is not None:
        monkeypatch.setenv("PORT_OFFSET", given)
    assert {name: Instance().port(name) - base for name, base in ALL_PORTS.items()} == dict.fromkeys(ALL_PORTS, moved)


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", " 5", str(FURTHEST + 1)])
def test_an_offset_that_moves_no_port_ends_a_command_with_one_line_that_says_what_it_may_be(wrong: str) -> None:
    command = (sys.executable, "-m", "deploy.local", "status")
    done = subprocess.run(
        command, env={**os.environ, "PORT_OFFSET": wrong}, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"PORT_OFFSET={wrong!r} does not move ports; give a whole number from 0 to {FURTHEST}\n"


def test_with_the_largest_offset_every_port_exists() -> None:
    assert max(ALL_PORTS.values()) + max(OFFSETS.values()) + FURTHEST + 10 * MOST_REPLICAS < 65_536


def test_a_stack_that_runs_is_found_where_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PORT_OFFSET=100 make up` and then `make status` said that nothing was ready."""
    monkeypatch.setenv("PORT_OFFSET", "100")
    Instance().keep_offset()
    monkeypatch.delenv("PORT_OFFSET")
    assert Instance().port("gateway") == ALL_PORTS["gateway"] + 100
    monkeypatch.setenv("PORT_OFFSET", "200")
    assert Instance().port("gateway") == ALL_PORTS["gateway"] + 200
    monkeypatch.setenv("PORT_OFFSET", "")
    assert Instance().port("gateway") == ALL_PORTS["gateway"] + 100
    Instance().forget_offset()
    assert Instance().port("gateway") == ALL_PORTS["gateway"]


def test_secrets_are_drawn_on_the_first_start_kept_for_the_next_and_read_by_their_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = environment.load(Instance())
    assert stat.S_IMODE(Instance().env_file.stat().st_mode) == 0o600
    assert environment.load(Instance()) == first
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path / "another clone"))
    other = environment.load(Instance())
    drawn = [found[name] for found in (first, other) for name in environment.SECRETS]
    assert len(set(drawn)) == 2 * len(environment.SECRETS)
    assert min(map(len, drawn)) >= 48


def test_what_the_stack_cannot_start_with_is_refused_at_once_and_not_kept(tmp_path: Path) -> None:
    wrong = [
        {"MARKETDATA_FEED": "replya"},
        {"REPLAY_SPEED": "fast"},
        {"REPLAY_SPEED": "0"},
        {"MARKETDATA_FEED": "replay", "SHARED_DATA": str(tmp_path / "nothing")},
    ]
    for choices in wrong:
        before = environment.load(Instance())
        with pytest.raises(environment.ChoiceError, match=next(reversed(choices.values()))):
            environment.choose(Instance(), choices)
        assert environment.load(Instance()) == before
    assert environment.choose(Instance(), {"MARKETDATA_FEED": "replay", "SHARED_DATA": str(tmp_path)})


def test_webhooks_are_shown_at_the_address_that_their_senders_reach() -> None:
    """Whatever a person wrote into the file, what he was to paste into TradingView was an address of this machine."""
    assert environment.load(Instance())["GATEWAY_SIGNALS_PUBLIC_URL"] == Instance().url("signals")
    environment.write(Instance(), {**environment.load(Instance()), "PUBLIC_URL": "https://trade.example"})
    assert environment.load(Instance())["GATEWAY_SIGNALS_PUBLIC_URL"] == "https://trade.example"


def test_the_feeds_that_may_be_chosen_are_those_that_marketdata_has() -> None:
    assert set(environment.FEEDS) == set(bootstrap.PRICES) == set(FeedKind)


def test_a_test_never_runs_on_the_servers_of_make_up() -> None:
    """It begins with empty ones: while the stack was down, all that people had kept would have been gone."""
    command = (sys.executable, "-m", "deploy.local", "test", "true")
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--instance test" in done.stderr


@pytest.mark.parametrize("words", [(), ("risk", "postgres")])
def test_the_logs_of_all_or_of_some_may_be_asked_for(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """`make logs` without a name was refused: `invalid choice: []`."""
    monkeypatch.setattr(sys, "argv", ["deploy.local", "logs", *words])
    with pytest.raises(SystemExit, match="nothing was logged"):
        command.main()


def test_the_logs_of_what_does_not_exist_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["deploy.local", "logs", "rsik"])
    with pytest.raises(SystemExit):
        command.main()
    assert "rsik is none of postgres, redis" in capsys.readouterr().err
