"""The accounts with their funds. An account's row is the lock of everything that belongs to the account."""

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal

import asyncpg

from libs.common.contracts import accounts as contracts
from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.trading.domain.accounts import Funds, TradingAccount

LOCK = """
SELECT account_id, user_id, broker, active, deleted, capital::text, version, opening_balance::text, realised_pnl::text,
       used_margin::text, funds_version, day, square_offs
  FROM accounts
 WHERE account_id = ANY($1::uuid[])
 ORDER BY account_id FOR UPDATE
"""
LOCK_SQUARING_OFF = """
SELECT *
  FROM accounts
 WHERE account_id IN (
    SELECT account_id FROM (SELECT DISTINCT account_id FROM square_offs WHERE completed_at IS NULL) AS unfinished
     ORDER BY random() LIMIT $1)
 ORDER BY account_id FOR UPDATE SKIP LOCKED
"""
"""Any of them: the same ones each time, were they stuck, would keep all others waiting for ever."""
LOCK_SETTLING = """
SELECT *
  FROM accounts
 WHERE account_id IN (
    SELECT account_id FROM (
        SELECT DISTINCT account_id FROM books JOIN settlements USING (instrument) WHERE quantity <> 0) AS holding
     ORDER BY random() LIMIT $1)
 ORDER BY account_id FOR UPDATE SKIP LOCKED
"""
LOCK_ADJUSTING = """
SELECT *
  FROM accounts
 WHERE account_id IN (
    SELECT account_id FROM (
        SELECT DISTINCT account_id
          FROM books JOIN positions p USING (account_id, instrument, product) JOIN accounts USING (account_id)
               JOIN corporate_actions a USING (instrument)
         WHERE books.quantity <> 0 AND a.ex_date <= $1 AND p.order_id < a.begins AND broker = $2
           AND NOT EXISTS (SELECT FROM booked_actions b
                            WHERE b.account_id = p.account_id AND b.instrument = p.instrument
                              AND b.product = p.product AND b.ex_date = a.ex_date AND b.kind = a.kind)) AS carrying
     ORDER BY random() LIMIT $3)
 ORDER BY account_id FOR UPDATE SKIP LOCKED
"""
LOCK_OF_DAYS_BEFORE = "SELECT * FROM accounts WHERE day < $1 ORDER BY account_id LIMIT $2 FOR UPDATE SKIP LOCKED"
INSERT = "INSERT INTO accounts VALUES ($1, $2, $3, $4, $5, $6, $7, false, $8, $9, $10, $11, $12, $13, $14, $15)"
DESCRIBED = "SELECT name, labels, is_master FROM accounts WHERE account_id = $1"
DESCRIBE = "UPDATE accounts SET name = $2, labels = $3, is_master = $4, broker = $5 WHERE account_id = $1"
UPDATE = """
UPDATE accounts a
   SET active = n.active, deleted = n.deleted, capital = n.capital, version = n.version,
       opening_balance = n.opening_balance, realised_pnl = n.realised_pnl, used_margin = n.used_margin,
       funds_version = n.funds_version, day = n.day, square_offs = n.square_offs
  FROM unnest($1::uuid[], $2::boolean[], $3::boolean[], $4::numeric[], $5::integer[], $6::numeric[], $7::numeric[],
              $8::numeric[], $9::integer[], $10::date[], $11::integer[])
       AS n(account_id, active, deleted, capital, version, opening_balance, realised_pnl, used_margin,
            funds_version, day, square_offs)
 WHERE a.account_id = n.account_id
"""


class Accounts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[AccountId, TradingAccount | None] = {}
        self._stored: set[AccountId] = set()
        self._changed: dict[AccountId, TradingAccount] = {}
        self._described: dict[AccountId, contracts.Account] = {}

    async def get(self, account_id: AccountId) -> TradingAccount | None:
        await self.lock({account_id})
        return self._known[account_id]

    async def owner(self, account_id: AccountId) -> TradingAccount:
        """The account that something belongs to; it is still there after its deletion."""
        account = await self.get(account_id)
        if account is None:
            raise LookupError(f"account {account_id} does not exist, though something belongs to it")
        return account

    async def described(self, account: TradingAccount) -> contracts.Account:
        """As its owner saved it last, and as it is now."""
        [row] = await self._connection.fetch(DESCRIBED, account.account_id)
        return contracts.Account(
            account_id=account.account_id,
            user_id=account.user_id,
            name=row["name"],
            broker=account.broker,
            labels=row["labels"],
            is_master=row["is_master"],
            active=account.active,
            opening_balance=account.capital,
        )

    async def squaring_off(self, limit: int) -> Sequence[TradingAccount]:
        """Locked: those with an unfinished square-off, without those that somebody else works on."""
        return [self._keep(row) for row in await self._connection.fetch(LOCK_SQUARING_OFF, limit)]

    async def of_days_before(self, day: date, limit: int) -> Sequence[TradingAccount]:
        """Locked: those whose figures are not of today, without those that somebody else works on."""
        return [self._keep(row) for row in await self._connection.fetch(LOCK_OF_DAYS_BEFORE, day, limit)]

    async def settling(self, limit: int) -> Sequence[TradingAccount]:
        """Locked: those that hold what has a settlement price, without those that somebody works on."""
        return [self._keep(row) for row in await self._connection.fetch(LOCK_SETTLING, limit)]

    async def adjusting(self, today: date, limit: int) -> Sequence[TradingAccount]:
        """Locked: those on paper that carried something into an ex-date and have not booked it, without those that
        somebody works on.
        """
        return [self._keep(row) for row in await self._connection.fetch(LOCK_ADJUSTING, today, Broker.PAPER, limit)]

    def with_square_offs(self) -> set[AccountId]:
        """Of those that are loaded."""
        return {account.account_id for account in self._known.values() if account is not None and account.square_offs}

    def save(self, account: TradingAccount, described: contracts.Account | None = None) -> None:
        self._known[account.account_id] = account
        self._changed[account.account_id] = account
        if described is not None:
            self._described[account.account_id] = described

    async def lock(self, account_ids: set[AccountId]) -> None:
        missing = [account_id for account_id in account_ids if account_id not in self._known]
        if not missing:
            return
        reads = Reads(self._connection)
        self.ask_lock(reads, missing)
        await reads.send()

    def ask_lock(self, reads: Reads, account_ids: Collection[AccountId]) -> None:
        """Whichever of them exist, in an order that is everybody's."""
        if account_ids:
            self._known.update((account_id, None) for account_id in account_ids)
            reads.add(LOCK, self._keep_locked, list(account_ids))

    def _keep_locked(self, rows: Sequence[Row]) -> None:
        for account_id, user_id, broker, active, deleted, capital, version, opening, realised, used, *rest in rows:
            funds_version, day, square_offs = rest
            self._stored.add(account_id)
            self._known[account_id] = TradingAccount(
                account_id=account_id,
                user_id=user_id,
                broker=Broker(broker),
                active=active,
                deleted=deleted,
                capital=Decimal(capital),
                version=version,
                funds=Funds(Decimal(opening), Decimal(realised), Decimal(used), funds_version),
                day=day,
                square_offs=square_offs,
            )

    def _keep(self, row: asyncpg.Record) -> TradingAccount:
        account = _account(row)
        self._stored.add(account.account_id)
        self._known[account.account_id] = account
        return account

    async def flush(self, writes: Writes) -> None:
        for account_id, described in self._described.items():
            if account_id in self._stored:
                await self._describe(account_id, described)
            else:
                await self._insert(self._changed.pop(account_id), described)
        writes.add_rows(UPDATE, [_row(account) for account in self._changed.values()])

    async def _describe(self, account_id: AccountId, described: contracts.Account) -> None:
        labels = list(described.labels)
        await self._connection.execute(
            DESCRIBE, account_id, described.name, labels, described.is_master, described.broker
        )

    async def _insert(self, account: TradingAccount, described: contracts.Account) -> None:
        funds = account.funds
        await self._connection.execute(
            INSERT,
            account.account_id,
            account.user_id,
            described.name,
            account.broker,
            list(described.labels),
            described.is_master,
            account.active,
            account.capital,
            account.version,
            funds.opening_balance,
            funds.realised_pnl,
            funds.used_margin,
            funds.version,
            account.day,
            account.square_offs,
        )


def _account(row: asyncpg.Record) -> TradingAccount:
    return TradingAccount(
        account_id=row["account_id"],
        user_id=row["user_id"],
        broker=Broker(row["broker"]),
        active=row["active"],
        deleted=row["deleted"],
        capital=row["capital"],
        version=row["version"],
        funds=Funds(row["opening_balance"], row["realised_pnl"], row["used_margin"], row["funds_version"]),
        day=row["day"],
        square_offs=row["square_offs"],
    )


def _row(account: TradingAccount) -> Row:
    funds = account.funds
    return (
        account.account_id,
        account.active,
        account.deleted,
        account.capital,
        account.version,
        funds.opening_balance,
        funds.realised_pnl,
        funds.used_margin,
        funds.version,
        account.day,
        account.square_offs,
    )
