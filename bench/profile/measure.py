"""The order path at a steady rate, once left alone to be weighed, then with one process after the other sampled."""

import asyncio
from pathlib import Path

from bench.orders import Mix
from bench.profile.sample import PER_SECOND, NoProfile, Sample, sample
from bench.profile.stacks import shared_out
from bench.report import Figures
from bench.window import Bench, clear, measure
from deploy.local.instance import Instance

PROCESSES = ("gateway", "risk", "trading", "walkforward", "strategy")
WARM_UP = 15.0
ALONE_SECONDS = 15.0
SAMPLED_SECONDS = 20
BEFORE, AFTER = 1.5, 0.5
"""Seconds of the load around the sampled ones."""
MOST_FUNCTIONS = 25
LIBRDKAFKA = "Kafka: librdkafka's threads"
OTHER_THREADS = "other threads"
"""Both known to the kernel's accounts, not to py-spy."""


async def profile(bench: Bench, mix: Mix, rate: float, instance: Instance) -> dict[str, Figures]:
    """Nothing where py-spy is not allowed to look, or the machine is busy with other things: says so, and goes on."""
    await measure(bench, mix, rate, WARM_UP)
    await clear(bench)
    alone = await measure(bench, mix, rate, ALONE_SECONDS)
    await clear(bench)
    processes: dict[str, Figures] = {}
    for name in PROCESSES:
        try:
            sampled = await under_load(bench, mix, rate, name, instance.home / "bench" / "profile" / f"{name}.raw")
        except NoProfile as error:
            print(error)
            return {}
        processes[name] = told(sampled, alone.cpu[name] / len(alone.attempts))
    return {
        "profile": {
            "rate": rate,
            "seconds": SAMPLED_SECONDS,
            "samples_per_s": PER_SECOND,
            "processes": processes,
        }
    }


async def under_load(bench: Bench, mix: Mix, rate: float, name: str, raw: Path) -> Sample:
    async def later() -> Sample:
        await asyncio.sleep(BEFORE)
        return await sample(bench.meter.programs[name], SAMPLED_SECONDS, raw)

    sampling = asyncio.create_task(later())
    try:
        await measure(bench, mix, rate, BEFORE + SAMPLED_SECONDS + AFTER)
        await clear(bench)
        sampled = await sampling
    finally:
        sampling.cancel()
    if sampled.crowded:
        raise NoProfile(
            f"{name} was seen running {sampled.seen:.0%} of the time and used {sampled.busy:.0%} of a core:"
            " too much else runs on this machine for a profile"
        )
    return sampled


def told(sampled: Sample, cpu_ms: float) -> Figures:
    """Its CPU per order, left alone, shared out among the stages as its samples are."""
    parts = sampled.used.shared_out(cpu_ms)
    stages = shared_out(parts.loop, sampled.fold.stages) | {LIBRDKAFKA: parts.kafka, OTHER_THREADS: parts.others}
    counted = max(sampled.fold.samples, 1)
    most = sampled.fold.functions.most_common(MOST_FUNCTIONS)
    return {
        "cpu_ms": round(cpu_ms, 3),
        "samples": sampled.fold.samples,
        "busy_by_samples": round(sampled.seen, 3),
        "busy_by_kernel": round(sampled.busy, 3),
        "waited_for_a_core": round(sampled.fold.waiting / (PER_SECOND * sampled.seconds), 3),
        "stages": {stage: round(ms, 3) for stage, ms in stages.items() if ms},
        "functions": [
            {
                "function": frame.function,
                "file": frame.file,
                "stage": stage,
                "cpu_ms": round(parts.loop * n / counted, 3),
            }
            for (stage, frame), n in most
        ],
    }
