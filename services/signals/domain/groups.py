"""Who may change a signal group, and to what."""

from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import SignalSource
from libs.common.contracts.signals import (
    SignalGroup,
    SignalGroupDeleted,
    SignalGroupDeleteRequested,
    SignalGroupSaved,
    SignalGroupSaveRequested,
)
from services.signals.domain.fates import Receiver

_LONGEST_NAME = 100
_LONGEST_WINDOW_S = 86_400
_MOST_PER_DAY = 1_000_000
_MOST_PER_MINUTE = 60_000


def decide_save(receiver: Receiver | None, request: SignalGroupSaveRequested) -> SignalGroupSaved | RequestRefused:
    owned = receiver is not None and receiver.group.user_id == request.user_id
    version = receiver.version if receiver else 0
    if (receiver is not None and not owned) or (receiver is None and request.expected_version):
        return refused(request, "not_found", f"there is no signal group {request.group_id}")
    if version != request.expected_version:
        return refused(request, "conflict", f"expected version {request.expected_version}, found version {version}")
    problem = what_is_wrong(request.group)
    if request.group.group_id != request.group_id or request.group.user_id != request.user_id:
        problem = "the group's own ids differ from the request's"
    if problem:
        return refused(request, "invalid", problem)
    return SignalGroupSaved(
        group_id=request.group_id, user_id=request.user_id, group=request.group, version=version + 1
    )


def decide_delete(
    receiver: Receiver | None, request: SignalGroupDeleteRequested
) -> SignalGroupDeleted | RequestRefused:
    if receiver is None or receiver.group.user_id != request.user_id:
        return refused(request, "not_found", f"there is no signal group {request.group_id}")
    return SignalGroupDeleted(group_id=request.group_id, user_id=request.user_id)


def evolve(receiver: Receiver | None, event: SignalGroupSaved) -> Receiver:
    """What was counted today stays counted: a change of the limit does not grant a fresh one."""
    if receiver is None:
        return Receiver(event.group, event.version)
    return Receiver(event.group, event.version, receiver.counted_on, receiver.counted)


def what_is_wrong(group: SignalGroup) -> str | None:
    """A sentence for whoever configured it; None when the group can work."""
    limits = (
        ("max_signals_per_day", group.max_signals_per_day, 1, _MOST_PER_DAY),
        ("max_per_minute", group.max_per_minute, 1, _MOST_PER_MINUTE),
        ("duplicate_window_s", group.duplicate_window_s, 0, _LONGEST_WINDOW_S),
        ("rotation", group.rotation, 0, 2**31 - 1),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            return f"{name} is {value}; it must be from {least} to {most}"
    if not group.name.strip() or len(group.name) > _LONGEST_NAME or not group.name.isprintable():
        return f"name must have 1 to {_LONGEST_NAME} printable characters"
    if group.signature_required and group.source is SignalSource.TRADINGVIEW:
        return "signature_required needs the source custom: TradingView signs nothing"
    return None


def refused(request: SignalGroupSaveRequested | SignalGroupDeleteRequested, code: str, reason: str) -> RequestRefused:
    return RequestRefused(entity_id=str(request.group_id), request=type(request).__name__, code=code, reason=reason)
