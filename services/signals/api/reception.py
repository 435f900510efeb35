"""One alert, from its bytes to a committed decision: authenticate, limit, read, decide under the group's lock.

Redis is asked before the transaction, never within it. The sender waits for the commit, but not for ever. Where the
answer to a commit is lost, or late, the database is asked what became of it; who has to be told that nobody knows yet
may send the alert again, and it is taken once.
"""

import asyncio
import hashlib
import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import asyncpg

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.enums import SignalType
from libs.common.contracts.ids import SignalGroupId, SignalId
from libs.common.contracts.signals import SignalGroup
from libs.common.problems import Problem, unavailable
from libs.common.security import WebhookSecrets
from libs.common.telemetry import log
from libs.common.trading_calendar import IST
from services.signals.api.judging import Read, judge, understand, whole
from services.signals.domain import alerts, fates, payloads
from services.signals.domain.fates import Accepted, Arrival, Fate, Outcome, Receiver, Refusal
from services.signals.memory import SignalsMemory, Webhook
from services.signals.store import SignalsStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    SignalsRuntime = Runtime[SignalsStore, SignalsMemory]

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
_LOGGED_PER_MINUTE = 60
"""So many have a line of their own, of each kind of refusal before an alert counts: they are without end otherwise."""
_COMMIT_SECONDS = 0.6
"""How much longer the sender waits when the commit is all that is missing: still less than TradingView's three."""
_RESOLVED_SECONDS = 30.0
"""How long the database is asked what became of a commit, though the sender was answered."""
_LOOK_SECONDS = 0.05
_ROTATIONS_TRIED = 16
"""Of a webhook before its group is read: whoever rotated his more often shares the room of strangers."""


@dataclass(frozen=True, slots=True)
class Call:
    """An alert as it came in: for which group, with which credential, and what of it was `said` in the URL. A Refusal:
    it was not read to its end.
    """

    group_id: SignalGroupId
    body: bytes | Refusal
    payload: Read
    source_ip: str
    began: float
    said: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None
    url_id: str | None = None
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Committing:
    """An accepted alert that was given to the database to commit: in which transaction."""

    outcome: Accepted
    transaction: int


async def receive(runtime: "SignalsRuntime", call: Call) -> Outcome | None:
    """What became of the alert, None when no group answers to its credential. 503 when that cannot be known in time.

    A decision that comes too late is not committed; one whose commit comes too late may be, and the sender is told so.
    The task ends by itself.
    """
    memory = runtime.memory
    sender = memory.sender(_webhook_of(call, memory.secrets))
    if not memory.has_room(sender):
        log.warning("alert_turned_away", group_id=str(call.group_id), under_way=len(memory.deciding))
        raise unavailable("too many alerts are being taken at once, or too many of this webhook or its user")
    reception = _Reception(runtime, call)
    work = asyncio.create_task(reception.outcome(), name="alert")
    memory.deciding[work] = sender
    work.add_done_callback(memory.deciding.pop)
    done, _ = await asyncio.wait({work}, timeout=memory.settings.answer_seconds)
    if not done and reception.committing:
        done, _ = await asyncio.wait({work}, timeout=_COMMIT_SECONDS)
    if not done:
        work.add_done_callback(_note_failure)
        if reception.committing:
            raise await _unknown(reception, reception.committing.outcome.signal.signal_id)
        raise unavailable("the alert was not taken in time")
    try:
        return work.result()
    except _AWAY as error:
        log.warning("alert_not_taken", error=repr(error))
        raise unavailable("the alert was not taken: the database is away") from error


def _webhook_of(call: Call, secrets: WebhookSecrets) -> Webhook | None:
    """Whose share of the room a call takes. Strangers have one between them: they may name any groups, each another.
    What was rotated away has one of its own.
    """
    rotations = (rotation for rotation in range(_ROTATIONS_TRIED) if _verifies(call, secrets, rotation))
    return next(((call.group_id, rotation) for rotation in rotations), None)


def _verifies(call: Call, secrets: WebhookSecrets, rotation: int) -> bool:
    if call.url_id is not None:
        return secrets.verify_url_id(call.url_id, call.group_id, rotation)
    return secrets.verify_token(call.token or "", call.group_id, rotation)


async def _unknown(reception: "_Reception", signal_id: SignalId) -> Problem:
    memory, call = reception.memory, reception.call
    await memory.limiter.note_unanswered(call.group_id, reception.content_hash, signal_id)
    log.warning("alert_outcome_unknown", signal_id=str(signal_id))
    detail = "the alert may have been taken: send it again as it is, it is taken once"
    return Problem(503, "outcome_unknown", detail, headers={"Retry-After": "1"}, signal_id=signal_id)


class _Reception:
    """The steps of one call, and what each needs from the last."""

    def __init__(self, runtime: "SignalsRuntime", call: Call) -> None:
        self.runtime = runtime
        self.memory = runtime.memory
        self.call = call
        self.at = runtime.clock.now()
        self.today = self.at.astimezone(IST).date()
        self.deadline = call.began + self.memory.settings.answer_seconds
        self.raw = b"" if isinstance(call.body, Refusal) else call.body
        self.committing: Committing | None = None
        self.unanswered: SignalId | None = None
        """What the alert may have become before, when its sender was told that nobody knows."""
        self.payload = whole(call.payload, call.said)
        read = payloads.Malformed("") if isinstance(self.payload, Refusal) else self.payload
        self.content_hash = payloads.fingerprint(self.raw, read)

    async def outcome(self) -> Outcome | None:
        async with self.runtime.pool.acquire(timeout=1) as connection:
            receiver = await SignalsStore(connection).find(self.call.group_id)
        if receiver is None:
            return None
        if not _verifies(self.call, self.memory.secrets, receiver.group.rotation):
            reason = "the token or the URL is wrong, or was rotated away"
            await self._log_some(receiver.group, Refusal(Fate.UNAUTHORIZED, reason))
            return None
        self.memory.note_owner(receiver.group)
        read = fates.admit(receiver, self.today) or self._read(receiver.group)
        if not isinstance(read, Refusal):
            read = await self._limit(receiver.group, read.signal_type) or read
        if isinstance(read, Refusal):
            await self._log_some(receiver.group, read)
            return read
        async with self.memory.turn(self.call.group_id):
            self._check_time()
            try:
                return await self._decide(receiver, read)
            except _AWAY as error:
                if self.committing is None:
                    raise
                log.warning("commit_not_heard", error=repr(error))
                return await self._resolve(self.committing)

    async def _limit(self, group: SignalGroup, kind: SignalType) -> Refusal | None:
        """Entries and exits each have the group's rate: however many enter, what they opened can be closed."""
        wait, self.unanswered = await self.memory.limiter.enter(
            group.group_id, kind, self.content_hash, group.max_per_minute, self.at.timestamp()
        )
        if not wait:
            return None
        reason = f"more than {group.max_per_minute} {kind} alerts a minute"
        return Refusal(Fate.RATE_LIMITED, reason, retry_after_s=math.ceil(wait))

    def _read(self, group: SignalGroup) -> alerts.Alert | Refusal:
        is_whole = not isinstance(self.call.payload, Refusal)
        if is_whole and group.signature_required and not self._signed(group):
            return Refusal(
                Fate.UNAUTHORIZED, "X-Signature is missing or is not sha256=<HMAC-SHA256 of the body, in hex>"
            )
        if group.signature_required and self.call.said:
            name = next(iter(self.call.said))
            return Refusal(Fate.INVALID, f"{name}: not in the URL, which nobody signs; say it in the body", field=name)
        return understand(self.payload, self.memory.settings, self.at)

    def _signed(self, group: SignalGroup) -> bool:
        key = self.memory.secrets.signing_key(group.group_id, group.rotation)
        expected = f"sha256={hmac.new(key, self.raw, hashlib.sha256).hexdigest()}"
        return hmac.compare_digest((self.call.signature or "").strip().lower().encode(), expected.encode())

    async def _decide(self, found: Receiver, alert: alerts.Alert) -> Outcome | None:
        """Under the lock of the group's row: of many alike alerts at once, one is first."""
        async with self.runtime.transaction(user_id=found.group.user_id) as unit:
            receiver = await unit.store.lock(found.group.group_id)
            if receiver is None:
                return None
            outcome = await judge(
                unit.store,
                self.memory,
                receiver,
                alert,
                content_hash=self.content_hash,
                signal_id=SignalId(unit.derive("signal")),
                unanswered=self.unanswered,
                at=self.at,
            )
            arrival = self._arrival(receiver.group, outcome, alert)
            if not isinstance(outcome, Accepted):
                await unit.store.keep(ids.new_id(), arrival)
                self._check_time()
            else:
                transaction = await unit.store.accept(ids.new_id(), arrival, receiver.counting(self.today))
                unit.say(outcome.signal)
                self._check_time()
                self.committing = Committing(outcome, transaction)
        return outcome

    async def _resolve(self, committing: Committing) -> Outcome:
        """What became of the transaction whose commit we did not hear of. The group's next alert waits for it."""
        async with asyncio.timeout(_RESOLVED_SECONDS):
            committed = await self._is_committed(committing.transaction)
            while committed is None:
                await asyncio.sleep(_LOOK_SECONDS)
                committed = await self._is_committed(committing.transaction)
        if committed:
            return committing.outcome
        raise ConnectionAbortedError("the database did not commit it")

    async def _is_committed(self, transaction: int) -> bool | None:
        try:
            async with self.runtime.pool.acquire(timeout=1) as connection:
                return await SignalsStore(connection).is_committed(transaction)
        except _AWAY:
            return None

    def _check_time(self) -> None:
        """What the sender was told is not taken must not be committed after all."""
        if stopwatch() > self.deadline:
            raise TimeoutError("the sender was told 503 meanwhile")

    async def _log_some(self, group: SignalGroup, refusal: Refusal) -> None:
        """As much as its owner may want to read of a sender who goes on, whatever he is told, or has no secret. The
        rest is told in one line a minute.
        """
        webhook, now = f"{refusal.fate}:{group.group_id}", self.at.timestamp()
        if self.memory.limiter.own_seconds_to_wait(webhook, _LOGGED_PER_MINUTE, now):
            first = partial(self._arrival, group, refusal, None)
            self.memory.note_flood(group.group_id, refusal.fate, self.at, first)
        else:
            async with self.runtime.pool.acquire(timeout=1) as connection:
                await SignalsStore(connection).keep(ids.new_id(), self._arrival(group, refusal, None))

    def _arrival(self, group: SignalGroup, outcome: Outcome, alert: alerts.Alert | None) -> Arrival:
        secrets = self.memory.secrets
        known = (
            secrets.token(group.group_id, group.rotation),
            secrets.url_id(group.group_id, group.rotation),
            secrets.signing_key(group.group_id, group.rotation).decode(),
        )
        fate, reason, signal_id = fates.told(outcome)
        return Arrival(
            group_id=group.group_id,
            user_id=group.user_id,
            received_at=self.at,
            source_ip=self.call.source_ip,
            content_hash=self.content_hash,
            alert_id=alert.alert_id if alert else None,
            payload=payloads.safe_copy(self.raw, known, self.memory.settings.kept_payload_characters),
            fate=fate,
            reason=reason,
            signal_id=signal_id,
            processing_ms=round((stopwatch() - self.call.began) * 1000, 3),
            signal_type=alert.signal_type if alert else None,
            action=alert.action if alert else None,
            account_id=alert.account_id if alert else None,
            about=alert.about if alert else None,
        )


def _note_failure(work: asyncio.Task[Outcome | None]) -> None:
    if not work.cancelled() and work.exception():
        log.warning("late_alert_not_taken", error=repr(work.exception()))
