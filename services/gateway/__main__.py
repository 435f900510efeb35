"""python -m services.gateway

python -m services.gateway rebuild          drop the projections and build them anew from the log, while no gateway runs
python -m services.gateway password EMAIL   a new password for who lost his: it is told once, and his sessions end
"""

import asyncio
import secrets
import sys

from libs.common.clock import SystemClock
from libs.common.messaging import rebuild
from libs.common.process import run
from libs.common.runtime import Runtime
from libs.common.settings import CommonSettings, load, service_settings
from services.gateway.app import app
from services.gateway.memory.cache import Cache
from services.gateway.memory.passwords import Passwords
from services.gateway.settings import GatewaySettings
from services.gateway.store import people
from services.gateway.store.rebuild import forget, settle


async def renew_password(email: str) -> None:
    """Beside the gateways that run: they hear of the end of his sessions as of any."""
    runtime = Runtime(app, load(CommonSettings), service_settings(app.name), SystemClock())
    await runtime.open_or_exit()
    cache = Cache(runtime.settings.redis_url)
    password = secrets.token_urlsafe(12)
    try:
        password_hash = await Passwords(load(GatewaySettings).password_pepper).hash(password)
        async with runtime.transaction() as unit:
            connection = unit.store.connection
            user = await people.password_by_email(connection, email.lower())
            if user is None:
                raise SystemExit(f"nobody logs in as {email}")
            user_id, before = user["user_id"], user["password_hash"]
            if not await people.set_password(connection, user_id, before, password_hash, unit.now):
                raise SystemExit(f"the password of {email} was changed this moment: try again if it is not known")
            ended = await people.revoke_sessions(connection, user_id, unit.now)
        await cache.drop(*(f"session:{session_id}" for session_id in ended))
    finally:
        await cache.close()
        await runtime.close()
    sys.stdout.write(f"from now on {email} logs in with {password}\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run(app)
        case ["rebuild"]:
            asyncio.run(rebuild.command(app, app, forget=forget, settle=settle))
        case ["password", email]:
            asyncio.run(renew_password(email))
        case _:
            raise SystemExit(__doc__)
