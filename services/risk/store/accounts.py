"""Account rows. Whoever changes what an account has bound holds its row locked."""

from collections.abc import Collection, Sequence
from decimal import Decimal

from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId, UserId
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.risk.domain.ledger import Account

_LOAD = """
    SELECT account_id, user_id, active, opening_balance::text, realised_pnl::text, order_margin::text,
           position_margin::text, open_positions, funds_version, broker
    FROM accounts WHERE account_id = ANY($1::uuid[]) ORDER BY account_id FOR UPDATE
"""

_MAKE = """
    INSERT INTO accounts (account_id, active, opening_balance, realised_pnl, order_margin, position_margin,
                          open_positions)
    SELECT id, false, 0, 0, 0, 0, 0 FROM unnest($1::uuid[]) AS id ORDER BY id
    ON CONFLICT (account_id) DO NOTHING
"""

_UPDATE = """
    UPDATE accounts a
    SET user_id = c.user_id, active = c.active, opening_balance = c.opening, realised_pnl = c.realised,
        order_margin = c.orders, position_margin = c.positions, open_positions = c.held,
        funds_version = c.funds, broker = c.broker
    FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[],
                $8::int[], $9::bigint[], $10::text[])
         AS c (account_id, user_id, active, opening, realised, orders, positions, held, funds, broker)
    WHERE a.account_id = c.account_id
"""


class Accounts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[AccountId, Account] = {}
        self._loaded: dict[AccountId, Account] = {}
        self.are_asked = False
        self.users_positions: dict[UserId, int] = {}

    def ask(self, reads: Reads, account_ids: Collection[AccountId]) -> None:
        """Lock and read them: whichever exist."""
        self.are_asked = True
        if account_ids:
            reads.add(_LOAD, self._keep, account_ids)

    async def load(self, account_ids: Collection[AccountId], told_of: Collection[AccountId]) -> None:
        """Unless they were asked for. Accounts that trading tells of get a row, whichever of its topics comes first."""
        if not self.are_asked:
            await self._load(account_ids)
        if missing := set(told_of).difference(self._rows):
            await self._connection.execute(_MAKE, missing)
            await self._load(account_ids)

    async def _load(self, account_ids: Collection[AccountId]) -> None:
        reads = Reads(self._connection)
        self.ask(reads, account_ids)
        await reads.send()

    def _keep(self, rows: Sequence[Row]) -> None:
        self._rows = {row[0]: _account(row) for row in rows}
        self._loaded = dict(self._rows)

    async def count_positions(self, user_ids: Collection[UserId]) -> None:
        """Positions open or being opened in all accounts of each user."""
        rows = await self._connection.fetch(
            "SELECT user_id, sum(open_positions) FROM accounts WHERE user_id = ANY($1::uuid[]) GROUP BY user_id",
            user_ids,
        )
        self.users_positions.update({row[0]: row[1] for row in rows})

    def get(self, account_id: AccountId) -> Account:
        account = self._rows.get(account_id)
        return account if account is not None else Account(account_id)

    def save(self, account: Account) -> None:
        before = self.get(account.account_id)
        if account.user_id in self.users_positions:
            self.users_positions[account.user_id] += account.open_positions - before.open_positions
        self._rows[account.account_id] = account

    def flush(self, writes: Writes) -> None:
        rows = [a for key, a in self._rows.items() if a is not self._loaded[key] and a != self._loaded[key]]
        if rows:
            writes.add(
                _UPDATE,
                [a.account_id for a in rows],
                [a.user_id for a in rows],
                [a.active for a in rows],
                [a.opening_balance for a in rows],
                [a.realised_pnl for a in rows],
                [a.order_margin for a in rows],
                [a.position_margin for a in rows],
                [a.open_positions for a in rows],
                [a.funds_version for a in rows],
                [a.broker for a in rows],
            )
        self._loaded = dict(self._rows)


def _account(row: Row) -> Account:
    account_id, user_id, active, opening, realised, orders, positions, *rest = row
    held, funds_version, broker = rest
    money = (Decimal(opening), Decimal(realised), Decimal(orders), Decimal(positions))
    return Account(account_id, user_id, active, *money, held, funds_version, Broker(broker) if broker else None)
