"""After a batch is committed: answer those who wait, show those who watch, tell the other instances."""

from collections.abc import Sequence

from libs.common.contracts.base import Delivery
from libs.common.runtime import Runtime
from services.gateway.memory import GatewayMemory
from services.gateway.store import GatewayStore


async def tell(_: Sequence[Delivery], runtime: Runtime[GatewayStore, GatewayMemory]) -> None:
    memory = runtime.memory
    changes = memory.take_changes()
    if changes is None:
        return
    memory.waiters.resolve(changes)
    memory.hub.publish(changes)
    await memory.siblings.tell(changes)
