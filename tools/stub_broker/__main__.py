"""python -m tools.stub_broker --port 8100 --seed 7 --fault SILENT_AFTER=0.1 --fault TOO_MANY=0.05"""

import argparse
import asyncio

from tools.stub_broker.faults import Fault, Plan
from tools.stub_broker.server import Stub


async def serve(port: int, plan: Plan) -> None:
    async with Stub(plan=plan).listening(port) as url:
        print(f"the stub broker listens on {url}", flush=True)  # noqa: T201 - a command talks to its user
        await asyncio.Event().wait()


def rate(text: str) -> tuple[Fault, float]:
    name, _, chance = text.partition("=")
    return Fault(name), float(chance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", type=rate, action="append", default=[], metavar="NAME=CHANCE")
    words = parser.parse_args()
    asyncio.run(serve(words.port, Plan(words.seed, dict(words.fault))))


if __name__ == "__main__":
    main()
