"""A day, a group that receives alerts, the request to save it, and an alert that arrived."""

from datetime import UTC, date, datetime

from libs.common.contracts.enums import SignalSource
from libs.common.contracts.ids import SignalGroupId, SignalId, UserId
from libs.common.contracts.signals import SignalGroup, SignalGroupSaveRequested
from libs.common.ids import new_id
from libs.common.testing import NOON
from services.signals.domain.fates import Arrival, Fate

NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
TODAY = date(2026, 11, 24)


def a_group(**changes: object) -> SignalGroup:
    group = SignalGroup(
        group_id=SignalGroupId(new_id()), user_id=UserId(new_id()), name="EMA", source=SignalSource.TRADINGVIEW
    )
    return group.model_copy(update=changes)


def save(group: SignalGroup, version: int = 0) -> SignalGroupSaveRequested:
    return SignalGroupSaveRequested(
        group_id=group.group_id, user_id=group.user_id, group=group, expected_version=version
    )


def an_arrival(group: SignalGroup, *, received_at: datetime = NOON, fate: Fate = Fate.ACCEPTED) -> Arrival:
    return Arrival(
        group_id=group.group_id,
        user_id=group.user_id,
        received_at=received_at,
        source_ip="52.89.214.238",
        content_hash=b"one",
        alert_id="a-1",
        payload='{"action": "buy"}',
        fate=fate,
        reason="",
        signal_id=SignalId(new_id()) if fate is Fate.ACCEPTED else None,
        processing_ms=1.5,
    )
