"""python -m services.trading

python -m services.trading halt REASON    stop all trading until a person resets scope ALL, while no trading runs
"""

import asyncio
import sys

from libs.common import ids
from libs.common.clock import SystemClock
from libs.common.contracts.enums import RiskLevel
from libs.common.contracts.ids import PanicId
from libs.common.contracts.risk import PanicRequested
from libs.common.messaging.rebuild import StillRunning, ensure_alone
from libs.common.process import run
from libs.common.runtime import Runtime
from libs.common.settings import CommonSettings, load, service_settings
from services.trading.app import app
from services.trading.domain.panics import ALL
from services.trading.handlers.panics import halt
from services.trading.store.panics import OPERATOR


async def halt_all(reason: str) -> None:
    runtime = Runtime(app, load(CommonSettings), service_settings(app.name), SystemClock())
    await runtime.open_or_exit()
    try:
        request = PanicRequested(
            panic_id=PanicId(ids.new_id()), scope=ALL, level=RiskLevel.ALL, requested_by=OPERATOR, reason=reason
        )
        async with runtime.transaction() as unit:
            await ensure_alone(unit.store.connection, app.name, runtime.outbox.owner)
            unit.say(*await halt(request, unit.context))
    except StillRunning as error:
        raise SystemExit(str(error)) from error
    finally:
        await runtime.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run(app)
        case ["halt", reason]:
            asyncio.run(halt_all(reason))
        case _:
            raise SystemExit(__doc__)
