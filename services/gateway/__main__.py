"""python -m services.gateway

python -m services.gateway rebuild    drop the projections and build them anew from the log, while no gateway runs
"""

import asyncio
import sys

from libs.common.messaging import rebuild
from libs.common.process import run
from services.gateway.app import app
from services.gateway.store.rebuild import forget, settle

if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run(app)
        case ["rebuild"]:
            asyncio.run(rebuild.command(app, app, forget=forget, settle=settle))
        case _:
            raise SystemExit(__doc__)
