"""From the request to the venue's acceptance and to the fill: at a steady rate, one at a time, and as many as go."""

from bench import latency
from bench.orders import Mix
from bench.report import Figures
from bench.window import CONNECTIONS, TAKEN, Bench, clear, measure
from bench.wire import Pool
from libs.common.clock import stopwatch

WARM_UP = 20.0
"""Some thousands of orders: until then Java still compiles, and PostgreSQL's caches fill."""
FIRST_RATE, STEP, LAST_RATE = 300, 100, 2000
STEP_SECONDS = 10.0
LATEST_P95_MS = 150.0
KEPT_UP = 0.97
ONE_AT_A_TIME = 300


async def steady(bench: Bench, mix: Mix, rate: float, seconds: float) -> dict[str, Figures]:
    await measure(bench, mix, rate, WARM_UP)
    await clear(bench)
    window = await measure(bench, mix, rate, seconds)
    await clear(bench)
    return {
        "order_path": {**window.figures(), "connections": CONNECTIONS, "refusals": dict(window.refusals)},
        "fill_to_websocket": {
            "rate": round(len(window.fills) / seconds, 1),
            **latency.percentiles(window.fills),
            "fills": len(window.fills),
        },
    }


async def one_at_a_time(bench: Bench, mix: Mix) -> dict[str, Figures]:
    """A closed loop on purpose: the latency of an order that meets an idle platform."""
    prepared = mix.prepare(bench.world, ONE_AT_A_TIME + 50)
    taken: list[float] = []
    async with Pool(bench.world.gateway_url, 1) as pool:
        for content, _ in prepared:
            began = stopwatch()
            status, _ = await pool.call(content)
            if status == TAKEN:
                taken.append(stopwatch() - began)
    await clear(bench)
    return {"single": {**latency.percentiles(taken[50:]), "orders": len(taken) - 50}}


async def saturation(bench: Bench, mix: Mix, first: int = FIRST_RATE) -> dict[str, Figures]:
    """Rising rates until answers take too long or arrivals are left behind; the figures of the last good one."""
    best: Figures = {"rate": 0.0}
    steps: list[Figures] = []
    for rate in range(first, LAST_RATE + 1, STEP):
        await measure(bench, mix, rate, 3)
        window = await measure(bench, mix, rate, STEP_SECONDS)
        await clear(bench)
        figures = window.figures()
        p95 = latency.percentiles(window.accepted)["p95_ms"]
        names = ("rate", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_order", "lost", "duplicated", "late")
        steps.append({"offered": rate, **{name: figures[name] for name in names}})
        print(
            f"  offered {rate}/s: answered {window.rate:.0f}/s, p95 {p95:.0f} ms, {figures['cpu_ms_per_order']} ms CPU"
        )
        if p95 > LATEST_P95_MS or window.rate < KEPT_UP * rate or window.late:
            break
        best = figures
    return {"saturation": {**best, "steps": steps}}
