"""Square-offs, and the largest order sizes that exchanges taught us by freezing larger ones."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from pydantic import TypeAdapter

from libs.common.contracts.enums import Product, SquareOffReason
from libs.common.contracts.ids import AccountId, InstrumentId, SquareOffId
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.square_offs import Pause, SquareOff, is_of_a_panic

SELECT_BEGUN = "SELECT square_off_id FROM square_offs WHERE square_off_id = ANY($1::uuid[])"
SELECT_OPEN = """
SELECT square_off_id, account_id, user_id, strategy_id, instrument, product, reason, started_at, pauses,
       expired
  FROM square_offs
 WHERE account_id = ANY($1::uuid[]) AND completed_at IS NULL
 ORDER BY square_off_id
"""
SELECT_PANICKING = """
SELECT DISTINCT account_id FROM square_offs WHERE completed_at IS NULL AND instrument IS NULL AND reason = $1
"""
SAVE = """
INSERT INTO square_offs (square_off_id, account_id, user_id, strategy_id, instrument, product, reason, started_at,
                         pauses, completed_at, expired)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                     $8::timestamptz[], $9::text[], $10::timestamptz[], $11::text[])
ON CONFLICT (square_off_id) DO UPDATE
   SET pauses = excluded.pauses, completed_at = excluded.completed_at, expired = excluded.expired
"""
SELECT_LARGEST = "SELECT instrument, quantity FROM largest_orders"
SAVE_LARGEST = """
INSERT INTO largest_orders VALUES ($1, $2) ON CONFLICT (instrument) DO UPDATE SET quantity = excluded.quantity
"""

_PAUSES: TypeAdapter[Mapping[InstrumentId, Pause]] = TypeAdapter(Mapping[InstrumentId, Pause])
_EXPIRED: TypeAdapter[frozenset[InstrumentId]] = TypeAdapter(frozenset[InstrumentId])


class SquareOffs:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: defaultdict[AccountId, dict[SquareOffId, SquareOff]] = defaultdict(dict)
        self._whole: set[AccountId] = set()
        self._changed: dict[SquareOffId, SquareOff] = {}
        self._largest: dict[InstrumentId, int] | None = None
        self._begun: set[SquareOffId] = set()
        self._panicking: set[AccountId] | None = None

    def exists(self, square_off_id: SquareOffId) -> bool:
        """Of those that were asked for."""
        return square_off_id in self._begun or square_off_id in self._changed

    def ask(self, reads: Reads, square_off_ids: Collection[SquareOffId]) -> None:
        """Which of these were begun before."""
        if square_off_ids:
            reads.add(SELECT_BEGUN, lambda rows: self._begun.update(row[0] for row in rows), square_off_ids)

    async def open(self, account: TradingAccount) -> Sequence[SquareOff]:
        if not account.square_offs:
            return []
        reads = Reads(self._connection)
        self.ask_open(reads, {account.account_id})
        await reads.send()
        return [each for each in self._known[account.account_id].values() if each.completed_at is None]

    def save(self, square_off: SquareOff) -> None:
        self._known[square_off.account_id][square_off.square_off_id] = square_off
        self._changed[square_off.square_off_id] = square_off

    async def largest_orders(self) -> Mapping[InstrumentId, int]:
        if self._largest is None:
            found = await self._connection.fetch(SELECT_LARGEST)
            self._largest = {row["instrument"]: row["quantity"] for row in found}
        return self._largest

    async def learn_largest_order(self, instrument: InstrumentId, quantity: int) -> None:
        await self._connection.execute(SAVE_LARGEST, instrument, quantity)
        self._largest = None

    async def forget_largest_orders(self, instruments: Collection[InstrumentId]) -> None:
        await self._connection.execute("DELETE FROM largest_orders WHERE instrument = ANY($1::text[])", instruments)
        self._largest = None

    async def panicking(self) -> set[AccountId]:
        """Where a panic closes all of an account, or of a strategy in it; those of this transaction included."""
        if self._panicking is None:
            rows = await self._connection.fetch(SELECT_PANICKING, SquareOffReason.PANIC)
            self._panicking = {row["account_id"] for row in rows}
        return self._panicking | {each.account_id for each in self._changed.values() if is_of_a_panic(each)}

    def ask_open(self, reads: Reads, account_ids: set[AccountId]) -> None:
        missing = account_ids - self._whole
        if missing:
            self._whole |= missing
            reads.add(SELECT_OPEN, self._keep, missing)

    def _keep(self, rows: Sequence[Row]) -> None:
        for square_off in map(_square_off, rows):
            self._known[square_off.account_id].setdefault(square_off.square_off_id, square_off)

    def flush(self, writes: Writes) -> None:
        writes.add_rows(SAVE, [_row(each) for each in self._changed.values()])


def _square_off(row: Row) -> SquareOff:
    square_off_id, account_id, user_id, strategy_id, instrument, product, reason, started_at, pauses, expired = row
    return SquareOff(
        square_off_id=square_off_id,
        account_id=account_id,
        user_id=user_id,
        strategy_id=strategy_id,
        instrument=instrument,
        product=None if product is None else Product(product),
        reason=SquareOffReason(reason),
        started_at=started_at,
        pauses=_PAUSES.validate_json(pauses),
        expired=_EXPIRED.validate_json(expired),
    )


def _row(square_off: SquareOff) -> Row:
    return (
        square_off.square_off_id,
        square_off.account_id,
        square_off.user_id,
        square_off.strategy_id,
        square_off.instrument,
        square_off.product,
        square_off.reason,
        square_off.started_at,
        _PAUSES.dump_json(square_off.pauses).decode(),
        square_off.completed_at,
        _EXPIRED.dump_json(square_off.expired).decode(),
    )
