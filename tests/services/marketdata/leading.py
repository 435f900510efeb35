"""Marketdata in a process of its own, without what writes candles, to be killed while it leads:
`python -m tests.services.marketdata.leading`, with MARKETDATA_DATABASE_URL, MARKETDATA_PORT and REDIS_URL.
"""

from dataclasses import replace

from libs.common.process import run
from services.marketdata.app import app
from services.marketdata.streams import write_series

WITHOUT_CANDLES = replace(app, leader=[task for task in app.leader if task is not write_series], background=())

if __name__ == "__main__":
    run(WITHOUT_CANDLES)
