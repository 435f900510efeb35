"""python -m services.marketdata           the whole service
python -m services.marketdata writer    only Kafka to QuestDB and candles; any number of them share the partitions

and commands about stored history: `python -m services.marketdata history --help`
"""

import sys
from dataclasses import replace

from libs.common.process import run
from services.marketdata import streams
from services.marketdata.api import commands
from services.marketdata.app import app

if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run(app)
        case ["writer"]:
            writing = [streams.write_series, streams.repair_candles]
            alone = replace(app, leader=(), standby=(), follows=())
            run(replace(alone, consumes=(), streams=(), committed=None, background=writing))
        case ["history", *words]:
            commands.run(words)
        case _:
            raise SystemExit(__doc__)
