"""What services said they need live prices of; it holds for a while and is then forgotten."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.common.contracts.enums import PriceNeed
from libs.common.contracts.market import PricesRequested

HOLDS = timedelta(seconds=20)
"""Four times as long as it takes until it is said again."""


class Needs:
    def __init__(self) -> None:
        self._said: dict[tuple[str, PriceNeed], tuple[PricesRequested, datetime]] = {}

    def note(self, said: PricesRequested, at: datetime) -> None:
        self._said[said.needed_by, said.need] = said, at

    def now(self, at: datetime) -> Sequence[PricesRequested]:
        """What holds at `at`."""
        return [said for said, heard_at in self._said.values() if at - heard_at <= HOLDS]
