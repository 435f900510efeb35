"""What a chain says as a whole: open interest, put-call ratios, max pain."""

from collections.abc import Sequence

import numpy as np

from libs.common.contracts.market import Quote
from services.marketdata.domain.chain.values import Content


def totals(strikes: Sequence[float], calls: Sequence[Quote | None], puts: Sequence[Quote | None]) -> Content:
    call_oi, put_oi = ([quote.oi if quote else 0 for quote in side] for side in (calls, puts))
    call_volume, put_volume = (sum(quote.volume for quote in side if quote) for side in (calls, puts))
    return {
        "call_oi": sum(call_oi),
        "put_oi": sum(put_oi),
        "pcr": round(sum(put_oi) / sum(call_oi), 4) if sum(call_oi) else None,
        "pcr_volume": round(put_volume / call_volume, 4) if call_volume else None,
        "max_pain": max_pain(strikes, call_oi, put_oi),
    }


def max_pain(strikes: Sequence[float], call_oi: Sequence[int], put_oi: Sequence[int]) -> float | None:
    """The strike at which all open options together are worth least if the underlying ends there."""
    if not any(call_oi) and not any(put_oi):
        return None
    strike = np.array(strikes, dtype=np.float64)
    calls, puts = np.array(call_oi, dtype=np.float64), np.array(put_oi, dtype=np.float64)
    # Paid to calls struck below: Σ oi (K - k); running sums make it one pass.
    to_calls = strike * np.cumsum(calls) - np.cumsum(calls * strike)
    to_puts = np.cumsum((puts * strike)[::-1])[::-1] - strike * np.cumsum(puts[::-1])[::-1]
    return float(strike[int(np.argmin(to_calls + to_puts))])
