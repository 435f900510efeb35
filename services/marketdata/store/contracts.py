"""The contract master as it was last published, so that a restart publishes only what changed."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from libs.common.contracts.market import InstrumentListed
from libs.common.service import Store

_ALL = "SELECT instrument, tradable, listing FROM contracts"
_SAVE = """
    INSERT INTO contracts (instrument, tradable, listing, published_at)
    SELECT i, t, l, $4 FROM unnest($1::text[], $2::boolean[], $3::text[]) AS changed (i, t, l)
    ON CONFLICT (instrument) DO UPDATE
    SET tradable = excluded.tradable, listing = excluded.listing, published_at = excluded.published_at
"""


class ContractStore(Store):
    async def changes(self, master: Iterable[InstrumentListed]) -> list[InstrumentListed]:
        """What must be said to turn the published master into this one: new, changed, and no longer tradable."""
        rows = await self.connection.fetch(_ALL)
        published = {row["instrument"]: row for row in rows}
        changed = []
        for listed in master:
            row = published.pop(listed.instrument, None)
            if row is None or row["listing"] != listed.model_dump_json():
                changed.append(listed)
        gone = [InstrumentListed.model_validate_json(r["listing"]) for r in published.values() if r["tradable"]]
        return changed + [listed.model_copy(update={"tradable": False}) for listed in gone]

    async def save(self, listings: Sequence[InstrumentListed], now: datetime) -> None:
        await self.connection.execute(
            _SAVE,
            [listed.instrument for listed in listings],
            [listed.tradable for listed in listings],
            [listed.model_dump_json() for listed in listings],
            now,
        )
