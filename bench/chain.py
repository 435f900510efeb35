"""Option chains: the volatility and Greeks of four hundred strikes, and a chain over the API."""

import asyncio

import numpy as np

from bench.latency import percentiles
from bench.report import Figures
from libs.common.clock import stopwatch
from services.marketdata.domain import greeks, pricing
from services.marketdata.domain.greeks import Options, Standing
from tools.client import Platform

STRIKES = 400
SPOT = 24_400.0
TIMES = 200
REQUESTS = 100
BULK = 500


def kernel() -> Figures:
    """A call and a put at each strike, an eighth out of the money on both sides, a week from expiry."""
    strike = np.repeat(np.linspace(0.88, 1.12, STRIKES) * SPOT, 2)
    count = len(strike)
    is_call = np.tile([True, False], STRIKES)
    options = Options(
        np.full(count, SPOT), strike, np.full(count, 7 / 365), is_call, pricing.RISK_FREE_RATE, pricing.DIVIDEND_YIELD
    )
    smiled = pricing.smile(np.full(count, 0.14), options.underlying, strike, options.years)
    prices = pricing.black_scholes(options.underlying, strike, options.years, smiled, is_call)
    took, known = [], 0
    for _ in range(TIMES):
        began = stopwatch()
        volatility, standing = greeks.implied(prices, options)
        greeks.greeks(volatility, options, standing)
        took.append(stopwatch() - began)
        known = int((standing == Standing.KNOWN).sum())
    return {**percentiles(took), "strikes": STRIKES, "options": count, "volatilities": known}


async def over_the_api(platform: Platform) -> dict[str, Figures]:
    """One after the other: the whole of NIFTY's nearest chain, and the quotes of five hundred instruments."""
    chain = (await platform.get("/api/v2/market/option-chain/NIFTY"))["rows"]
    listed = (await platform.get("/api/v2/market/contracts/search", q="NIFTY", kind="OPTION", limit=200))["data"]
    names = [row[side]["instrument"] for row in chain for side in ("call", "put") if row[side]]
    names = [*dict.fromkeys([*names, *(each["instrument"] for each in listed)])]
    wanted = {"symbols": (names * (BULK // len(names) + 1))[:BULK]}
    chains, quotes = [], []
    for _ in range(REQUESTS):
        began = stopwatch()
        await platform.get("/api/v2/market/option-chain/NIFTY")
        chains.append(stopwatch() - began)
        began = stopwatch()
        await platform.post("/api/v2/market/quotes/bulk", wanted)
        quotes.append(stopwatch() - began)
        await asyncio.sleep(0.02)
    return {
        "chain_whole": {**percentiles(chains), "strikes": len(chain)},
        "quotes_bulk": {**percentiles(quotes), "symbols": BULK},
    }


async def measure(platform: Platform) -> dict[str, Figures]:
    return {"chain_kernel": kernel(), **await over_the_api(platform)}
