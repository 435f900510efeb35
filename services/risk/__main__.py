"""python -m services.risk

python -m services.risk rebuild    drop the state and build it anew from the log, while no risk runs
"""

import asyncio
import sys

from libs.common.messaging import rebuild
from libs.common.process import run
from services.risk.app import app, retold
from services.risk.store.rebuild import forget
from services.risk.timers import forget_old

if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run(app)
        case ["rebuild"]:
            asyncio.run(rebuild.command(app, retold, forget=forget, settle=forget_old))
        case _:
            raise SystemExit(__doc__)
