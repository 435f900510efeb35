"""Trading's tables. The account's row is the lock of all that belongs to the account; the gate is the panic's.

Every transaction first takes the gate: shared, or exclusively when it carries a panic. So a panic waits for what is
being recorded, and whatever is recorded later sees its epoch. Then the accounts' rows, in order: no deadlocks.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

import asyncpg

from libs.common.contracts.accounts import Account
from libs.common.contracts.base import Message
from libs.common.contracts.enums import ExecutionKind
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, PanicId, SquareOffId, StrategyId
from libs.common.contracts.orders import (
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
)
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.contracts.venue import ExecutionReported
from libs.common.service import Connection, Store
from services.trading.domain import panics
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.orders import Order
from services.trading.domain.panics import PanicEpoch
from services.trading.domain.positions import Book, BookKey, Net, NetKey, book_key, net_key
from services.trading.domain.square_offs import SquareOff
from services.trading.store import rows, sql

Panic = PanicRequested | PanicResetRequested
NAMING_AN_ORDER = (OrderCleared, OrderDenied, OrderModifyCleared, OrderCancelRequested, ExecutionReported)


class TradingStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._entered = False
        self._accounts: dict[AccountId, TradingAccount | None] = {}
        self._orders: dict[OrderId, Order | None] = {}
        self._orders_of: defaultdict[AccountId, dict[OrderId, Order]] = defaultdict(dict)
        self._nets: defaultdict[AccountId, dict[NetKey, Net | None]] = defaultdict(dict)
        self._books: defaultdict[AccountId, dict[BookKey, Book | None]] = defaultdict(dict)
        self._square_offs: defaultdict[AccountId, dict[SquareOffId, SquareOff]] = defaultdict(dict)
        self._epochs: dict[str, PanicEpoch] = {}
        self._stakes: dict[str, set[AccountId]] = {}
        self._largest: dict[InstrumentId, int] | None = None
        self._whole: set[AccountId] = set()
        self._executions: set[tuple[str, str]] = set()
        self._checked_executions: set[str] = set()
        self._stored_orders: set[OrderId] = set()
        self._stored_accounts: set[AccountId] = set()
        self._changed_accounts: dict[AccountId, TradingAccount] = {}
        self._described: dict[AccountId, Account] = {}
        self._changed_orders: dict[OrderId, Order] = {}
        self._changed_nets: dict[NetKey, Net] = {}
        self._changed_books: dict[BookKey, Book] = {}
        self._changed_square_offs: dict[SquareOffId, SquareOff] = {}
        self._changed_epochs: dict[str, PanicEpoch] = {}
        self._new_executions: list[rows.Row] = []

    async def prefetch(self, messages: Sequence[Message]) -> None:
        panic_requests = [m for m in messages if isinstance(m, Panic)]
        await self.enter(alone=bool(panic_requests))
        account_ids: set[AccountId] = {m.account_id for m in messages if hasattr(m, "account_id")}
        at_stake = {each for panic in panic_requests for each in await self._at_stake(panic)}
        await self._lock_accounts(account_ids | at_stake)
        order_ids: set[OrderId] = {m.order_id for m in messages if isinstance(m, NAMING_AN_ORDER)}
        await self._load_orders(order_ids)
        executions = [m for m in messages if isinstance(m, ExecutionReported)]
        await self._check_executions([e.execution_id for e in executions])
        filled = [self._orders.get(e.order_id) for e in executions if e.kind is ExecutionKind.FILLED]
        await self._load_positions([order for order in filled if order is not None])
        await self._load_epochs(self._scopes_of(messages))
        squaring_off = {a.account_id for a in self._accounts.values() if a is not None and a.square_offs}
        await self.load_portfolios(squaring_off | at_stake)

    async def enter(self, *, alone: bool = False) -> None:
        """Take the gate, before any row. Plans are made once for index access: the tables grow while they are kept."""
        if not self._entered:
            await self.connection.execute(sql.CLOSE_GATE if alone else sql.SHARE_GATE)
            self._entered = True

    # Accounts

    async def account(self, account_id: AccountId) -> TradingAccount | None:
        if account_id not in self._accounts:
            await self._lock_accounts({account_id})
        return self._accounts[account_id]

    async def owner(self, order: Order) -> TradingAccount:
        """The account of an order, which outlives its deletion."""
        account = await self.account(order.account_id)
        if account is None:
            raise LookupError(f"order {order.order_id} is of account {order.account_id}, which does not exist")
        return account

    def save_account(self, account: TradingAccount, described: Account | None = None) -> None:
        self._accounts[account.account_id] = account
        self._changed_accounts[account.account_id] = account
        if described is not None:
            self._described[account.account_id] = described

    async def accounts_of_days_before(self, day: date, limit: int) -> Sequence[TradingAccount]:
        """Locked and with their portfolios; without those that somebody is busy with."""
        return await self._take(await self.connection.fetch(sql.LOCK_OF_DAYS_BEFORE, day, limit))

    async def accounts_squaring_off(self, now: datetime, limit: int) -> Sequence[TradingAccount]:
        """Those with a square-off that may act now, locked and with their portfolios."""
        return await self._take(await self.connection.fetch(sql.LOCK_SQUARING_OFF, now, limit))

    async def _take(self, found: Sequence[asyncpg.Record]) -> Sequence[TradingAccount]:
        accounts = [self._keep_account(rows.account(row)) for row in found]
        await self.load_portfolios({account.account_id for account in accounts})
        return accounts

    async def _lock_accounts(self, account_ids: set[AccountId]) -> None:
        if not account_ids:
            return
        for row in await self.connection.fetch(sql.LOCK_ACCOUNTS, list(account_ids)):
            self._keep_account(rows.account(row))
        for account_id in account_ids:
            self._accounts.setdefault(account_id, None)

    def _keep_account(self, account: TradingAccount) -> TradingAccount:
        self._stored_accounts.add(account.account_id)
        self._accounts[account.account_id] = account
        return account

    # Orders and executions

    async def order(self, order_id: OrderId) -> Order | None:
        if order_id not in self._orders:
            await self._load_orders({order_id})
        return self._orders[order_id]

    async def open_orders(self, account_id: AccountId) -> Sequence[Order]:
        await self.load_portfolios({account_id})
        return [order for order in self._orders_of[account_id].values() if order.is_open]

    def save_order(self, order: Order) -> None:
        self._orders[order.order_id] = order
        self._orders_of[order.account_id][order.order_id] = order
        self._changed_orders[order.order_id] = order

    async def is_new(self, venue: str, execution: ExecutionReported) -> bool:
        """Whether this report was never heard before, by any road. It counts as heard from now on."""
        await self._check_executions([execution.execution_id])
        if (venue, execution.execution_id) in self._executions:
            return False
        self._executions.add((venue, execution.execution_id))
        self._new_executions.append(
            (
                venue,
                execution.execution_id,
                execution.order_id,
                execution.kind,
                execution.quantity,
                execution.price,
                execution.executed_at,
            )
        )
        return True

    async def _load_orders(self, order_ids: set[OrderId]) -> None:
        if not order_ids:
            return
        for row in await self.connection.fetch(sql.ORDERS, list(order_ids)):
            self._keep_order(rows.order(row))
        for order_id in order_ids:
            self._orders.setdefault(order_id, None)

    def _keep_order(self, order: Order) -> None:
        self._stored_orders.add(order.order_id)
        if self._orders.get(order.order_id) is None:
            self._orders[order.order_id] = order
            self._orders_of[order.account_id][order.order_id] = order

    async def _check_executions(self, execution_ids: Iterable[str]) -> None:
        unchecked = set(execution_ids) - self._checked_executions
        if unchecked:
            found = await self.connection.fetch(sql.EXECUTIONS, list(unchecked))
            self._executions.update((row["venue"], row["execution_id"]) for row in found)
            self._checked_executions |= unchecked

    # Positions

    async def net(self, order: Order) -> Net:
        key = net_key(order)
        if key not in self._nets[order.account_id]:
            await self._load_positions([order])
        return self._nets[order.account_id][key] or Net(
            order.account_id, order.user_id, order.instrument, order.product, order.order_id
        )

    async def book(self, order: Order) -> Book:
        key = book_key(order)
        if key not in self._books[order.account_id]:
            await self._load_positions([order])
        return self._books[order.account_id][key] or Book(
            order.account_id, order.strategy_id, order.instrument, order.product
        )

    async def live_nets(self, account_id: AccountId) -> Sequence[Net]:
        """Open, or traded today."""
        await self.load_portfolios({account_id})
        return [net for net in self._nets[account_id].values() if net is not None]

    async def live_books(self, account_id: AccountId) -> Sequence[Book]:
        await self.load_portfolios({account_id})
        return [book for book in self._books[account_id].values() if book is not None]

    def save_net(self, net: Net) -> None:
        self._nets[net.account_id][net_key(net)] = net
        self._changed_nets[net_key(net)] = net

    def save_book(self, book: Book) -> None:
        self._books[book.account_id][book_key(book)] = book
        self._changed_books[book_key(book)] = book

    async def _load_positions(self, orders: Sequence[Order]) -> None:
        nets = {net_key(order) for order in orders}
        books = {book_key(order) for order in orders}
        if not nets:
            return
        for row in await self.connection.fetch(sql.POSITIONS, *zip(*nets, strict=True)):
            self._keep_net(rows.net(row))
        keys = [(account_id, instrument, product, s or rows.NIL) for account_id, instrument, product, s in books]
        for row in await self.connection.fetch(sql.BOOKS, *zip(*keys, strict=True)):
            self._keep_book(rows.book(row))
        for net in nets:
            self._nets[net[0]].setdefault(net, None)
        for book in books:
            self._books[book[0]].setdefault(book, None)

    def _keep_net(self, net: Net) -> None:
        self._nets[net.account_id].setdefault(net_key(net), net)

    def _keep_book(self, book: Book) -> None:
        self._books[book.account_id].setdefault(book_key(book), book)

    # Everything that is open in an account

    async def load_portfolios(self, account_ids: Iterable[AccountId]) -> None:
        """Open orders, live positions and books, unfinished square-offs."""
        missing = list(set(account_ids) - self._whole)
        if not missing:
            return
        self._whole.update(missing)
        for row in await self.connection.fetch(sql.OPEN_ORDERS, missing):
            self._keep_order(rows.order(row))
        for row in await self.connection.fetch(sql.LIVE_POSITIONS, missing):
            self._keep_net(rows.net(row))
        for row in await self.connection.fetch(sql.LIVE_BOOKS, missing):
            self._keep_book(rows.book(row))
        for row in await self.connection.fetch(sql.OPEN_SQUARE_OFFS, missing):
            square_off = rows.square_off(row)
            self._square_offs[square_off.account_id].setdefault(square_off.square_off_id, square_off)

    async def open_square_offs(self, account: TradingAccount) -> Sequence[SquareOff]:
        if not account.square_offs:
            return []
        await self.load_portfolios({account.account_id})
        return [each for each in self._square_offs[account.account_id].values() if each.completed_at is None]

    async def knows_square_off(self, square_off_id: SquareOffId) -> bool:
        if square_off_id in self._changed_square_offs:
            return True
        return bool(await self.connection.fetch(sql.KNOWN_SQUARE_OFFS, [square_off_id]))

    def save_square_off(self, square_off: SquareOff) -> None:
        self._square_offs[square_off.account_id][square_off.square_off_id] = square_off
        self._changed_square_offs[square_off.square_off_id] = square_off

    async def largest_orders(self) -> Mapping[InstrumentId, int]:
        """The order sizes that exchanges taught us, by freezing larger ones."""
        if self._largest is None:
            found = await self.connection.fetch(sql.LARGEST_ORDERS)
            self._largest = {row["instrument"]: row["quantity"] for row in found}
        return self._largest

    async def learn_largest_order(self, instrument: InstrumentId, quantity: int) -> None:
        await self.connection.execute(sql.SAVE_LARGEST_ORDER, instrument, quantity)
        self._largest = None

    # Panics

    async def epochs(self, account: TradingAccount, strategy_id: StrategyId | None) -> Sequence[PanicEpoch]:
        """The epochs that an order of this account and strategy stands under."""
        return await self.epochs_of(panics.scopes_of(account.user_id, account.account_id, strategy_id))

    async def epochs_of(self, scopes: Sequence[str]) -> Sequence[PanicEpoch]:
        await self._load_epochs(scopes)
        return [self._epochs[scope] for scope in scopes]

    def save_epoch(self, epoch: PanicEpoch) -> None:
        self._epochs[epoch.scope] = epoch
        self._changed_epochs[epoch.scope] = epoch

    async def epoch_of_panic(self, panic_id: PanicId) -> int | None:
        """The epoch under which this panic was acknowledged; None for one that was never heard of."""
        epoch: int | None = await self.connection.fetchval(sql.PANIC, panic_id)
        return epoch

    async def keep_panic(self, request: PanicRequested, epoch: int, now: datetime) -> None:
        await self.connection.execute(
            sql.INSERT_PANIC, request.panic_id, request.scope, epoch, request.requested_by, request.reason, now
        )

    async def accounts_at_stake(self, request: PanicRequested) -> Sequence[TradingAccount]:
        """Accounts with open orders or positions in the scope."""
        touched = {
            order.account_id
            for order in self._changed_orders.values()
            if request.scope in panics.scopes_of(order.user_id, order.account_id, order.strategy_id)
        }
        found = [await self.account(account_id) for account_id in sorted({*await self._at_stake(request), *touched})]
        return [account for account in found if account is not None]

    async def _at_stake(self, request: Panic) -> set[AccountId]:
        if isinstance(request, PanicResetRequested) or panics.refuse_scope(request) is not None:
            return set()
        if request.scope not in self._stakes:
            kind, _, owner = request.scope.partition(":")
            found = await self.connection.fetch(sql.AT_STAKE[kind], *([owner] if owner else []))
            self._stakes[request.scope] = {row["account_id"] for row in found}
        return self._stakes[request.scope]

    def _scopes_of(self, messages: Sequence[Message]) -> set[str]:
        scopes = {m.scope for m in messages if isinstance(m, Panic)}
        for message in messages:
            match message:
                case OrderCleared():
                    scopes.update(panics.scopes_of(message.user_id, message.account_id, message.strategy_id))
                case OrderModifyCleared() | ExecutionReported():
                    order = self._orders.get(message.order_id)
                    if order is not None and getattr(message, "kind", None) in (None, ExecutionKind.FILLED):
                        scopes.update(panics.scopes_of(order.user_id, order.account_id, order.strategy_id))
                case _:
                    pass
        return scopes

    async def _load_epochs(self, scopes: Iterable[str]) -> None:
        missing = [scope for scope in scopes if scope not in self._epochs]
        if not missing:
            return
        self._epochs.update((scope, PanicEpoch(scope)) for scope in missing)
        for row in await self.connection.fetch(sql.EPOCHS, missing):
            self._epochs[row["scope"]] = rows.epoch(row)

    # Writing

    async def flush(self) -> None:
        await self._flush_accounts()
        new, old = [], []
        for order in self._changed_orders.values():
            if order.order_id in self._stored_orders:
                old.append(rows.order_row(order))
            else:
                new.append(rows.new_order_row(order))
        await self._write(sql.INSERT_ORDERS, new)
        await self._write(sql.UPDATE_ORDERS, old)
        await self._write(sql.INSERT_EXECUTIONS, self._new_executions)
        await self._write(sql.SAVE_POSITIONS, [rows.net_row(each) for each in self._changed_nets.values()])
        await self._write(sql.SAVE_BOOKS, [rows.book_row(each) for each in self._changed_books.values()])
        await self._write(
            sql.SAVE_SQUARE_OFFS, [rows.square_off_row(each) for each in self._changed_square_offs.values()]
        )
        await self._write(sql.SAVE_EPOCHS, [rows.epoch_row(each) for each in self._changed_epochs.values()])

    async def _flush_accounts(self) -> None:
        for account_id, described in self._described.items():
            if account_id in self._stored_accounts:
                await self.connection.execute(
                    sql.DESCRIBE_ACCOUNT,
                    account_id,
                    described.name,
                    list(described.labels),
                    described.is_master,
                    described.broker,
                )
            else:
                await self._insert_account(self._changed_accounts.pop(account_id), described)
        await self._write(sql.UPDATE_ACCOUNTS, [rows.account_row(each) for each in self._changed_accounts.values()])

    async def _insert_account(self, account: TradingAccount, described: Account) -> None:
        await self.connection.execute(
            sql.INSERT_ACCOUNT,
            account.account_id,
            account.user_id,
            described.name,
            account.broker,
            list(described.labels),
            described.is_master,
            account.active,
            account.capital,
            account.version,
            account.funds.opening_balance,
            account.funds.realised_pnl,
            account.funds.used_margin,
            account.funds.version,
            account.day,
            account.square_offs,
        )

    async def _write(self, statement: str, found: Sequence[rows.Row]) -> None:
        if found:
            await self.connection.execute(statement, *zip(*found, strict=True))
