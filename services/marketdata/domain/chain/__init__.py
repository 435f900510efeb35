"""An option chain from the contract master and the newest quotes: prices, Greeks, put-call ratio, max pain."""

from services.marketdata.domain.chain.changes import changed
from services.marketdata.domain.chain.listed import ChainIndex, ChainKey, Contracts, key_of
from services.marketdata.domain.chain.totals import max_pain
from services.marketdata.domain.chain.values import Content, Terms
from services.marketdata.domain.chain.whole import worked_out

__all__ = [
    "ChainIndex",
    "ChainKey",
    "Content",
    "Contracts",
    "Terms",
    "changed",
    "key_of",
    "max_pain",
    "worked_out",
]
