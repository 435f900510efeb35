"""A service as a process: how it starts, serves, drains and stops."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from libs.common import database, http, telemetry, watchdog
from libs.common.clock import Clock, SystemClock
from libs.common.messaging.consumer import Consumer
from libs.common.messaging.errors import MessageTooLarge
from libs.common.messaging.streams import StreamReader
from libs.common.messaging.waiting import NotThere
from libs.common.parts import Part, endless
from libs.common.runtime import Runtime
from libs.common.service import S, Service, Timer, V
from libs.common.settings import CommonSettings, load, service_settings
from libs.common.telemetry import log, trace

AGAIN_SECONDS = 60.0
"""After a failure no timer waits longer, so that it is known soon whether it still fails."""


async def tick(runtime: Runtime[S, V], timer: Timer[S, V]) -> None:
    """A timer's life. What it cannot say or keep now it may be able to the next time: it ends nothing else."""
    part = Part(runtime, f"timer:{timer.handler.__name__}", asked_for=False)
    pause = timer.seconds
    while True:
        await asyncio.sleep(pause)
        pause = min(timer.seconds, AGAIN_SECONDS)
        trace.set(None)
        try:
            with part.busy():
                async with runtime.transaction() as unit:
                    unit.say(*await timer.handler(unit.context))
        except database.FAILURES as error:
            log.warning("timer_waits", timer=timer.handler.__name__, error=repr(error))
            part.failed()
        except MessageTooLarge as error:
            log.error("timer_says_too_much", timer=timer.handler.__name__, error=str(error))
            part.failed()
        else:
            pause = timer.seconds
            part.succeeded()


async def serve(service: Service[S, V], *, clock: Clock | None = None) -> None:
    """Run the service until SIGTERM or SIGINT; drain; return. Raises what ended it otherwise."""
    common = load(CommonSettings)
    telemetry.configure_logging(service.name, common.log_level)
    runtime = Runtime(service, common, service_settings(service.name), clock or SystemClock())
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, runtime.stopping.set)
    with watchdog.watched(loop, runtime.in_hand.note):
        if not await _opened(runtime):
            return
        server = http.Listener(runtime)
        try:
            await _live(runtime, server)
        finally:
            await server.stop()
            await runtime.memory.close()
            await runtime.close()
            log.info("stopped")


async def _opened(runtime: Runtime[S, V]) -> bool:
    """False when it was told to stop before it had what it needs; raises NotThere when it will not have that."""
    try:
        await runtime.open()
    except NotThere as absent:
        told = {
            "missing": {what: repr(error) for what, error in absent.faults.items()},
            "hint": absent.remedy(runtime.service.name),
        }
        if runtime.stopping.is_set():
            log.warning("stopped_before_it_began", **told)
            return False
        log.critical("cannot_start", **told)
        raise
    return True


async def _live(runtime: Runtime[S, V], server: "http.Listener") -> None:
    service = runtime.service
    await runtime.memory.open(runtime)
    streams = StreamReader(runtime)
    consumer = Consumer(runtime)
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []

        def own(work: Coroutine[Any, Any, None], name: str) -> None:
            tasks.append(group.create_task(endless(work, name), name=name))

        own(runtime.outbox.run(), "outbox")
        own(server.run(), "http")
        if service.streams:
            own(streams.run(), "streams")
            await _first(streams.caught_up.wait(), runtime.stopping.wait())
        _spare_the_collector()
        if service.consumes:
            own(consumer.run(), "consumer")
        for timer in service.timers:
            own(tick(runtime, timer), f"timer:{timer.handler.__name__}")
        for background in service.background:
            own(_run_background(background, runtime), f"background:{background.__name__}")
        log.info("started", port=runtime.own_settings.port)
        await runtime.stopping.wait()
        log.info("draining")
        await server.drain()
        await consumer.stop()
        await streams.stop()
        for task in tasks:
            task.cancel()


def _spare_the_collector() -> None:
    """What was loaded by now lives as long as the process: the garbage collector need not walk it again and again."""
    gc.collect()
    gc.freeze()


async def _run_background(work: Callable[[Runtime[S, V]], Awaitable[None]], runtime: Runtime[S, V]) -> None:
    await work(runtime)


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def run(service: Service[Any, Any]) -> None:
    """The whole of `python -m services.<name>`."""
    try:
        uvloop.run(serve(service))
    except NotThere as absent:  # which was told
        raise SystemExit(1) from absent
