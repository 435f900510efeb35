"""Algos and what they hold, in PostgreSQL. The only file of strategy that speaks SQL.

The row of an algo is the lock of all that it holds: whoever handles a signal or an event of it locks that row first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.contracts.accounts import AccountDeleted
from libs.common.contracts.algos import Algo, AlgoDeleteRequested, AlgoLeg, AlgoSaveRequested
from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.ids import AccountId, AlgoId, InstrumentId, SignalGroupId, SquareOffId, UserId
from libs.common.contracts.orders import SquareOffRequested
from libs.common.contracts.signals import SignalReceived
from libs.common.contracts.users import UserAccessChanged
from libs.common.database import Connection
from libs.common.reads import Row
from libs.common.service import Store
from services.strategy.domain import stocks
from services.strategy.domain.algos import KnownAccount
from services.strategy.domain.holdings import Holding

_ALGOS_LOCKED = """
    SELECT algo_id, version, definition, closed_at, closed_stocks FROM algos
    WHERE algo_id = ANY($1::uuid[]) OR group_ids && $2::uuid[]
    ORDER BY algo_id FOR UPDATE
"""
_LEGS_OF_ACTIVE = """
    SELECT DISTINCT leg::text FROM (SELECT definition::jsonb AS algo FROM algos) AS known,
        jsonb_array_elements(algo -> 'legs') AS leg
    WHERE algo @> '{"active": true}'
"""
"""Read by the database: thousands of algos would stand in the way of a signal while we read them ourselves."""
_HOLDINGS = "SELECT state FROM holdings WHERE algo_id = ANY($1::uuid[])"
_OVERDUE = "SELECT DISTINCT algo_id FROM holdings WHERE reversal_deadline < $1"
_CLOSING = "SELECT DISTINCT algo_id FROM holdings WHERE closing_id = ANY($1::uuid[])"
_HOLDERS = "SELECT DISTINCT algo_id FROM holdings WHERE account_id = ANY($1::uuid[])"
_SAVE_ALGO = """
    INSERT INTO algos (algo_id, user_id, version, group_ids, definition) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (algo_id) DO UPDATE SET
        version = excluded.version, group_ids = excluded.group_ids, definition = excluded.definition
"""
_SAVE_CLOSED = """
    UPDATE algos SET closed_at = said.closed_at, closed_stocks = said.closed_stocks
    FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS said (algo_id, closed_at, closed_stocks)
    WHERE algos.algo_id = said.algo_id
"""
_SAVE_HOLDINGS = """
    INSERT INTO holdings (algo_id, account_id, stock, reversal_deadline, closing_id, state)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::uuid[], $6::text[])
    ON CONFLICT (algo_id, account_id, stock) DO UPDATE SET
        reversal_deadline = excluded.reversal_deadline, closing_id = excluded.closing_id, state = excluded.state
"""
_FORGET_HOLDINGS = """
    DELETE FROM holdings USING unnest($1::uuid[], $2::uuid[], $3::text[]) AS gone (algo_id, account_id, stock)
    WHERE holdings.algo_id = gone.algo_id AND holdings.account_id = gone.account_id AND holdings.stock = gone.stock
"""
_ACCOUNTS = "SELECT account_id, user_id, name, active FROM accounts WHERE account_id = ANY($1::uuid[])"
_SAVE_ACCOUNTS = """
    INSERT INTO accounts SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::boolean[])
    ON CONFLICT (account_id) DO UPDATE SET
        user_id = excluded.user_id, name = excluded.name, active = excluded.active
"""
_IDLE_USERS = "SELECT user_id FROM users WHERE user_id = ANY($1::uuid[]) AND NOT may_trade"
_SAVE_USERS = """
    INSERT INTO users (user_id, may_trade, version) SELECT * FROM unnest($1::uuid[], $2::boolean[], $3::integer[])
    ON CONFLICT (user_id) DO UPDATE SET may_trade = excluded.may_trade, version = excluded.version
    WHERE users.version < excluded.version
"""
_FORGET_ACCOUNTS = "DELETE FROM accounts WHERE account_id = ANY($1::uuid[])"
_STATE = TypeAdapter(Holding)
_CLOSED_STOCKS = TypeAdapter(dict[InstrumentId | None, datetime])
_Place = tuple[AccountId, InstrumentId | None]
"""Of a holding of an algo."""


@dataclass(frozen=True, slots=True)
class Known:
    """An algo with its version; version 0 and no algo when there is none.

    `closings`: when the newest signal was received that closes all it held, or all of a stock.
    """

    algo: Algo | None = None
    version: int = 0
    closings: Mapping[InstrumentId | None, datetime] = field(default_factory=dict)


class StrategyStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._algos: dict[AlgoId, Known] = {}
        self._holdings: dict[AlgoId, dict[_Place, Holding]] = {}
        self.accounts: dict[AccountId, KnownAccount] = {}
        """Those that the batch's algos are linked to, where trading told us of them."""
        self.idle_users: set[UserId] = set()
        """Those of the batch's users who may open nothing."""
        self._changed_algos: set[AlgoId] = set()
        self._closed_algos: set[AlgoId] = set()
        self._changed_accounts: set[AccountId] = set()
        self._changed_users: dict[UserId, UserAccessChanged] = {}
        self._changed_holdings: dict[tuple[AlgoId, _Place], None] = {}

    async def prefetch(self, messages: Sequence[Message]) -> None:
        group_ids = {group_id for message in messages for group_id in _groups_of(message)}
        algo_ids: set[AlgoId] = set()
        refused: list[UUID] = []
        for message in messages:
            match message:
                case AlgoSaveRequested() | AlgoDeleteRequested():
                    algo_ids.add(message.algo_id)
                case RequestRefused(request=SquareOffRequested.__name__):
                    refused.append(UUID(message.entity_id))
                case _:
                    strategy_id = getattr(message, "strategy_id", None)
                    if strategy_id is not None:
                        algo_ids.add(AlgoId(strategy_id))
        if refused:
            algo_ids |= {row["algo_id"] for row in await self.connection.fetch(_CLOSING, refused)}
        algo_ids |= await self._holders(messages)
        if algo_ids or group_ids:
            await self._load(algo_ids, group_ids)
        requested = [message.algo for message in messages if isinstance(message, AlgoSaveRequested)]
        if requested or group_ids or self._awaits_entry():
            await self._load_accounts([*requested, *(known.algo for known in self._algos.values() if known.algo)])

    async def flush(self) -> None:
        await self._flush_accounts()
        await self._flush_algos()
        self.writes.add_rows(_SAVE_CLOSED, [_closed(algo_id, self._algos[algo_id]) for algo_id in self._closed_algos])
        self._flush_holdings()
        users = [(each.user_id, each.may_trade, each.version) for each in self._changed_users.values()]
        self.writes.add_rows(_SAVE_USERS, users)

    def algo(self, algo_id: AlgoId) -> Known:
        return self._algos.get(algo_id, Known())

    def algos_of(self, group_id: SignalGroupId) -> list[Algo]:
        """The algos that listen to the group, in a fixed order."""
        listening = [
            known.algo
            for known in self._algos.values()
            if known.algo and any(mapping.group_id == group_id for mapping in known.algo.mappings)
        ]
        return sorted(listening, key=lambda algo: algo.algo_id)

    def holdings(self, algo_id: AlgoId) -> list[Holding]:
        return list(self._holdings.get(algo_id, {}).values())

    def holding(self, algo_id: AlgoId, account_id: AccountId, stock: InstrumentId | None) -> Holding | None:
        return self._holdings.get(algo_id, {}).get((account_id, stock))

    def holdings_in(self, account_id: AccountId) -> list[Holding]:
        return [each for held in self._holdings.values() for each in held.values() if each.account_id == account_id]

    def closing(self, square_off_id: SquareOffId) -> Holding | None:
        """What is being closed by that square-off; None when it is not one of ours, or no longer."""
        for algo_id, held in self._holdings.items():
            for holding in held.values():
                is_it = holding.closing is not None and holding.closing.square_off_id == square_off_id
                if is_it and self.algo(algo_id).algo:
                    return holding
        return None

    def save_algo(self, algo: Algo, version: int) -> None:
        self._algos[algo.algo_id] = replace(self.algo(algo.algo_id), algo=algo, version=version)
        self._changed_algos.add(algo.algo_id)

    def delete_algo(self, algo_id: AlgoId) -> None:
        self._algos[algo_id] = Known()
        self._changed_algos.add(algo_id)

    def save_closed(self, algo_id: AlgoId, at: datetime, concerned: Iterable[InstrumentId | None]) -> None:
        known = self._algos[algo_id]
        newest = {of: max(at, known.closings.get(of, at)) for of in concerned}
        self._algos[algo_id] = replace(known, closings={**known.closings, **newest})
        self._closed_algos.add(algo_id)

    def save_account(self, account_id: AccountId, account: KnownAccount) -> None:
        self.accounts[account_id] = account
        self._changed_accounts.add(account_id)

    def forget_account(self, account_id: AccountId) -> None:
        self.accounts.pop(account_id, None)
        self._changed_accounts.add(account_id)

    def save_user(self, event: UserAccessChanged) -> None:
        known = self._changed_users.get(event.user_id)
        if known is not None and known.version >= event.version:
            return
        self._changed_users[event.user_id] = event
        if event.may_trade:
            self.idle_users.discard(event.user_id)
        else:
            self.idle_users.add(event.user_id)

    def save_holding(self, holding: Holding) -> None:
        place = holding.account_id, holding.stock
        self._holdings.setdefault(holding.algo_id, {})[place] = holding
        self._changed_holdings[holding.algo_id, place] = None

    async def active_legs(self) -> list[AlgoLeg]:
        """Of the algos that may enter, each once; to know of, not to decide on."""
        return [AlgoLeg.model_validate_json(row[0]) for row in await self.connection.fetch(_LEGS_OF_ACTIVE)]

    async def load_overdue_reversals(self, now: datetime) -> None:
        """Lock the algos that wait for a reversal whose time is over."""
        found = {row["algo_id"] for row in await self.connection.fetch(_OVERDUE, now)}
        if found:
            await self._load(found, ())

    def overdue_reversals(self, now: datetime) -> list[tuple[Algo, Holding]]:
        return [
            (known.algo, holding)
            for algo_id, known in self._algos.items()
            for holding in self.holdings(algo_id)
            if known.algo and holding.reversal and holding.reversal.deadline < now
        ]

    async def _holders(self, messages: Sequence[Message]) -> set[AlgoId]:
        """The algos that hold something in an account that was deleted."""
        deleted = [message.account_id for message in messages if isinstance(message, AccountDeleted)]
        return {row["algo_id"] for row in await self.connection.fetch(_HOLDERS, deleted)} if deleted else set()

    async def _load(self, algo_ids: Iterable[AlgoId], group_ids: Iterable[SignalGroupId]) -> None:
        for row in await self.connection.fetch(_ALGOS_LOCKED, list(algo_ids), list(group_ids)):
            closings = _CLOSED_STOCKS.validate_json(row["closed_stocks"])
            if row["closed_at"]:
                closings[None] = row["closed_at"]
            algo = Algo.model_validate_json(row["definition"])
            self._algos[row["algo_id"]] = Known(algo, row["version"], closings)
        if not self._algos:
            return
        for row in await self.connection.fetch(_HOLDINGS, list(self._algos)):
            holding = _STATE.validate_json(row["state"])
            self._holdings.setdefault(holding.algo_id, {})[holding.account_id, holding.stock] = holding

    def _awaits_entry(self) -> bool:
        """A reversal may enter in this batch."""
        return any(holding.reversal for held in self._holdings.values() for holding in held.values())

    async def _load_accounts(self, algos: Iterable[Algo]) -> None:
        """And their users: both in one question."""
        concerned = list(algos)
        linked = {account.account_id for algo in concerned for account in algo.accounts}
        self.reads.add(_ACCOUNTS, self._keep_accounts, list(linked))
        self.reads.add(_IDLE_USERS, self._keep_idle_users, list({algo.user_id for algo in concerned}))
        await self.reads.send()

    def _keep_accounts(self, rows: Sequence[Row]) -> None:
        self.accounts.update((account_id, KnownAccount(*known)) for account_id, *known in rows)

    def _keep_idle_users(self, rows: Sequence[Row]) -> None:
        self.idle_users.update(user_id for (user_id,) in rows)

    async def _flush_accounts(self) -> None:
        gone = [account_id for account_id in self._changed_accounts if account_id not in self.accounts]
        kept = [
            (account_id, account.user_id, account.name, account.active)
            for account_id in self._changed_accounts
            if (account := self.accounts.get(account_id))
        ]
        self.writes.add_rows(_SAVE_ACCOUNTS, kept)
        if gone:
            await self.connection.execute(_FORGET_ACCOUNTS, gone)

    async def _flush_algos(self) -> None:
        for algo_id in self._changed_algos:
            known = self._algos[algo_id]
            if known.algo is None:
                await self.connection.execute("DELETE FROM algos WHERE algo_id = $1", algo_id)
                continue
            groups = list({mapping.group_id for mapping in known.algo.mappings})
            definition = known.algo.model_dump_json()
            await self.connection.execute(_SAVE_ALGO, algo_id, known.algo.user_id, known.version, groups, definition)

    def _flush_holdings(self) -> None:
        kept: list[tuple[object, ...]] = []
        gone: list[tuple[object, ...]] = []
        for algo_id, (account_id, stock) in self._changed_holdings:
            if self.algo(algo_id).algo is None:
                continue
            holding = self._holdings[algo_id][account_id, stock]
            if holding.is_empty:
                gone.append((algo_id, account_id, stock or ""))
            else:
                deadline = holding.reversal.deadline if holding.reversal else None
                closing = holding.closing.square_off_id if holding.closing else None
                kept.append((algo_id, account_id, stock or "", deadline, closing, _STATE.dump_json(holding).decode()))
        self.writes.add_rows(_SAVE_HOLDINGS, kept)
        self.writes.add_rows(_FORGET_HOLDINGS, gone)


def _closed(algo_id: AlgoId, known: Known) -> tuple[object, ...]:
    """Of stocks those that it may enter."""
    of = stocks.of(known.algo) if known.algo else []
    closed_stocks: dict[InstrumentId | None, datetime] = {
        stock: known.closings[stock] for stock in of if stock in known.closings
    }
    return algo_id, known.closings.get(None), _CLOSED_STOCKS.dump_json(closed_stocks).decode()


def _groups_of(message: Message) -> set[SignalGroupId]:
    """Whose algos it is about."""
    match message:
        case SignalReceived():
            return {message.group_id}
        case AlgoSaveRequested():
            return {mapping.group_id for mapping in message.algo.mappings}
        case _:
            return set()
