"""What the figures were measured on: without it they cannot be compared with any other."""

import os
import platform
import subprocess
from pathlib import Path

import psutil

from deploy.local import environment
from deploy.local.instance import JARS, PROJECT, Instance
from deploy.local.servers import postgres_binaries
from libs.common.clock import SystemClock

CPU_MODEL = "model name"


def conditions(instance: Instance) -> dict[str, object]:
    variables = environment.load(instance)
    return {
        "at": SystemClock().now().isoformat(timespec="seconds"),
        "commit": said("git", "-C", str(PROJECT), "describe", "--always", "--dirty"),
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgres": said(str(postgres_binaries() / "postgres"), "--version").partition(") ")[2].split()[0],
        "redis": said("redis-server", "--version").partition("v=")[2].split()[0],
        "kafka": jar("kafka", "kafka_2.13-"),
        "questdb": jar("questdb", "questdb-"),
        "feed": variables["MARKETDATA_FEED"],
        "replay_speed": variables["REPLAY_SPEED"],
    }


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(CPU_MODEL)), platform.machine())


def jar(server: str, prefix: str) -> str:
    return next((path.stem.removeprefix(prefix) for path in (JARS / server).glob(f"{prefix}*.jar")), "unknown")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
