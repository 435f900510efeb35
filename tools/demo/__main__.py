"""`python -m tools.demo`: tells the story against the running stack; exits non-zero at the first step that fails."""

import argparse
import asyncio
import sys
from pathlib import Path

from deploy.local import kept
from libs.common.clock import stopwatch
from tools.client import Away, Platform, Refused
from tools.demo.contract import NothingToTrade
from tools.demo.narrator import Narrator, milliseconds, rupees
from tools.demo.story import StepFailed, Story, Told
from tools.stream import Stream

FACTS = Path(".local/demo.json")
NEEDED = frozenset({"gateway_url", "stream_url", "account_id", "api_key"})


async def tell(facts: dict[str, str], narrator: Narrator) -> Told:
    """The whole story; what it set up is taken away however it ends."""
    async with Platform(facts["gateway_url"]) as platform:
        platform.use_key(facts["api_key"])
        began = stopwatch()
        async with Stream(facts["stream_url"], facts["api_key"]) as stream:
            story = Story(platform, stream, facts["account_id"], narrator)
            story.opened(began)
            try:
                await story.prepare()
                await story.enter()
                await story.hold()
                await story.exit()
            finally:
                await story.clean_up()
            return story.told


async def knock(facts: dict[str, str]) -> None:
    """Patience is for a platform that is there: raises Away at once for one that never was, Refused for one that does
    not know us.
    """
    async with Platform(facts["gateway_url"], patience=2) as platform:
        await platform.get("/api/v2/system/version")
        platform.use_key(facts["api_key"])
        await platform.get(f"/api/v2/accounts/{facts['account_id']}")


def summary(told: Told) -> str:
    since = told.alerted_at
    return (
        f"alert → venue {milliseconds(told.submitted_at - since)}, "
        f"alert → fill {milliseconds(told.filled_at - since)}, "
        f"breach → flat {milliseconds(told.flat_at - told.breached_at)}, P&L {rupees(told.pnl)}"
    )


def read(path: Path) -> dict[str, str]:
    if not path.exists():
        sys.exit(f"{path} is not there: `make up` writes it")
    found: dict[str, str] = kept.facts(path)
    if lacking := NEEDED - found.keys():
        sys.exit(f"{path} is not whole, it has no {', '.join(sorted(lacking))}: `make up` writes it anew")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--facts", type=Path, default=FACTS, help="where `make up` wrote the addresses and the login")
    arguments = parser.parse_args()
    try:
        demonstrate(arguments)
    except KeyboardInterrupt:
        sys.exit(130)


def demonstrate(arguments: argparse.Namespace) -> None:
    facts = read(arguments.facts)
    try:
        asyncio.run(knock(facts))
    except Away:
        sys.exit(f"nobody answers at {facts['gateway_url']}: `make up` starts the platform")
    except Refused as refused:
        sys.exit(f"the platform does not know the login in {arguments.facts} ({refused}): `make up` makes a new one")
    narrator = Narrator()
    narrator.title("An alert's way to an order, a fill, a position and its stop-loss")
    try:
        told = asyncio.run(tell(facts, narrator))
    except (StepFailed, NothingToTrade, Refused, Away) as failure:
        narrator.end(f"FAILED after step {narrator.steps}. {failure}")
        sys.exit(1)
    narrator.end(summary(told))


if __name__ == "__main__":
    main()
