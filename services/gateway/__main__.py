"""python -m services.gateway

python -m services.gateway rebuild    forget the projections and read the log anew (while no gateway runs)
"""

import asyncio
import sys

from libs.common import database
from libs.common.runtime import run
from libs.common.settings import service_settings
from services.gateway.app import app
from services.gateway.store import rebuild


async def forget() -> None:
    pool = await database.open_pool(service_settings(app.name).database_url, app.name, size=2)
    async with pool.acquire() as connection, connection.transaction():
        await rebuild.forget(connection)
    await pool.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run(app)
        case ["rebuild"]:
            asyncio.run(forget())
        case _:
            raise SystemExit(__doc__)
