"""A second clone on a machine where a stack runs already."""

from pathlib import Path

import pytest

from deploy.local.instance import Instance
from deploy.local.stack import NotReadyError, Stack
from tools.backup.taking import NotRunning, check


def test_a_stack_of_another_clone_is_not_taken_for_our_own(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said that it was running already, and a backup asked the other's database with our password."""
    port = stack.instance.port("gateway")
    assert stack.complete()
    check(stack)
    monkeypatch.setenv("PORT_OFFSET", str(stack.instance.offset))
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path))
    ours = Stack("test")
    assert ours.instance.port("gateway") == port
    assert not ours.complete()
    with pytest.raises(NotReadyError, match=f"{port}.* in use already"):
        ours.start_servers()
    with pytest.raises(NotRunning, match="postgres, kafka, questdb not running"):
        check(ours)
