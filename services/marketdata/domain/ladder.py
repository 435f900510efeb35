"""Five levels of market depth around a best bid and ask."""

from collections.abc import Sequence

from libs.common.contracts.market import DepthLevel

LEVELS = 5


def levels(best: float, step: float, quantities: Sequence[int], orders: Sequence[int]) -> tuple[DepthLevel, ...]:
    """From `best` outwards by `step` (negative for bids); prices at or below zero are left out."""
    return tuple(
        DepthLevel(price=price, quantity=quantity, orders=count)
        for n, (quantity, count) in enumerate(zip(quantities, orders, strict=True))
        if (price := round(best + n * step, 2)) > 0
    )
