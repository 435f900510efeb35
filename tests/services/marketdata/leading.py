"""Marketdata in a process of its own, without what writes candles, to be killed while it leads:
`python -m tests.services.marketdata.leading`, with MARKETDATA_DATABASE_URL, MARKETDATA_PORT and REDIS_URL.
"""

from dataclasses import replace

from libs.common.process import run
from services.marketdata.app import app

if __name__ == "__main__":
    run(replace(app, background=()))
