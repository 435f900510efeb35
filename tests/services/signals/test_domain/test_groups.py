"""Which groups are saved and deleted."""

import pytest

from libs.common.contracts.base import RequestRefused
from libs.common.contracts.ids import SignalGroupId, UserId
from libs.common.contracts.signals import SignalGroupDeleted, SignalGroupDeleteRequested, SignalGroupSaved
from libs.common.ids import new_id
from services.signals.domain import groups
from services.signals.domain.fates import Receiver
from tests.services.signals.making import TODAY, a_group, save


def code_of(event: object) -> str:
    assert isinstance(event, RequestRefused)
    return event.code


def test_saving_counts_versions() -> None:
    group = a_group()
    event = groups.decide_save(None, save(group))
    assert event == SignalGroupSaved(group_id=group.group_id, user_id=group.user_id, group=group, version=1)
    assert isinstance(event, SignalGroupSaved)
    receiver = groups.evolve(None, event)
    assert groups.decide_save(receiver, save(group, 1)) == event.model_copy(update={"version": 2})


def test_a_stale_version_is_refused_and_told_the_current_one() -> None:
    group = a_group()
    refused = groups.decide_save(Receiver(group, 3), save(group, 2))
    assert code_of(refused) == "conflict"
    assert isinstance(refused, RequestRefused)
    assert refused.reason == "expected version 2, found version 3"
    assert refused.entity_id == str(group.group_id)


def test_somebody_elses_group_is_not_found() -> None:
    group = a_group()
    stranger = group.model_copy(update={"user_id": UserId(new_id())})
    assert code_of(groups.decide_save(Receiver(group, 1), save(stranger, 1))) == "not_found"
    delete = SignalGroupDeleteRequested(group_id=group.group_id, user_id=stranger.user_id)
    assert code_of(groups.decide_delete(Receiver(group, 1), delete)) == "not_found"
    assert code_of(groups.decide_delete(None, delete)) == "not_found"
    own = delete.model_copy(update={"user_id": group.user_id})
    assert isinstance(groups.decide_delete(Receiver(group, 1), own), SignalGroupDeleted)


def test_a_version_of_nothing_is_not_found() -> None:
    assert code_of(groups.decide_save(None, save(a_group(), 1))) == "not_found"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"max_signals_per_day": 0},
        {"max_per_minute": 0},
        {"duplicate_window_s": -1},
        {"duplicate_window_s": 86_401},
        {"rotation": -1},
        {"signature_required": True},
    ],
)
def test_a_group_that_could_not_work_is_refused(changes: dict[str, object]) -> None:
    assert code_of(groups.decide_save(None, save(a_group(**changes)))) == "invalid"


def test_a_group_is_saved_under_its_own_ids() -> None:
    group = a_group()
    request = save(group).model_copy(update={"group_id": SignalGroupId(new_id())})
    assert code_of(groups.decide_save(None, request)) == "invalid"


def test_a_change_of_the_group_keeps_what_was_counted_today() -> None:
    receiver = Receiver(a_group(), 1, TODAY, 7)
    event = SignalGroupSaved(
        group_id=receiver.group.group_id, user_id=receiver.group.user_id, group=receiver.group, version=2
    )
    assert groups.evolve(receiver, event).accepted_on(TODAY) == 7
