"""What happens in the demo, step by step. Each step acts or waits, and is told only when it was seen to happen."""

import contextlib
from dataclasses import dataclass
from decimal import Decimal

from libs.common.clock import stopwatch
from libs.common.ids import new_id
from tools.client import Json, Platform, Refused
from tools.demo.contract import choose_leg, in_words
from tools.demo.narrator import Narrator, rupees
from tools.stream import Heard, Matches, Stream

PATIENCE = 120.0
"""Seconds within which each step must be seen: a restart of any one service is well within."""
ALERTS = 4
STOP_LOSS = Decimal(2000)
WATCHED = 4
"""How often the MTM is shown before the stop-loss is tightened."""
PROFIT_SECONDS = 15.0
"""How long a position may stay in profit before a trailing stop takes the place of the stop-loss."""
RECOVERY_SECONDS = 4.0
"""After which a stop that the market ran away from is moved again."""
LEFT_FOR_THE_VENUE = ("SUBMITTED", "ACCEPTED", "PARTIALLY_FILLED", "FILLED", "OUTCOME_UNKNOWN")
TAKEN_BY_THE_VENUE = ("ACCEPTED", "PARTIALLY_FILLED", "FILLED")


class StepFailed(Exception):
    """A step was not seen to happen: which, what it waited for, and the last thing that was heard."""

    def __init__(self, step: str, waited_for: str, saw_last: str) -> None:
        super().__init__(f"{step}: waited for {waited_for}; last heard: {saw_last}")


class Outdated(Exception):
    """The alert or its order came through too late to be traded on, and rightly nothing was."""


@dataclass
class Told:
    """What the story came to. Times are `stopwatch` seconds."""

    alerted_at: float = 0.0
    submitted_at: float = 0.0
    filled_at: float = 0.0
    breached_at: float = 0.0
    flat_at: float = 0.0
    order_id: str = ""
    instrument: str = ""
    pnl: Decimal = Decimal(0)


class Story:
    """One run, under names of its own; `clean_up` takes away what it made."""

    def __init__(self, platform: Platform, stream: Stream, account_id: str, narrator: Narrator) -> None:
        self.platform = platform
        self.stream = stream
        self.account_id = account_id
        self.narrator = narrator
        self.name = f"demo {new_id().hex[-6:]}"
        self.told = Told()
        self.group: Json = {}
        self.algo: Json = {}
        self.limit: Json = {}
        self.moment = stopwatch()

    def opened(self, since: float) -> None:
        self.moment = since
        self._step("Connected", "to the stream of orders, fills, positions and risk")

    async def prepare(self) -> None:
        """What a trader sets up once: who may send alerts, what to trade on one, and how much it may lose."""
        group = {"name": self.name, "source": "tradingview", "duplicate_window_s": 300}
        self.group = await self.platform.post("/api/v2/signals/", group)
        self._step("Signal group", f"“{self.name}” has a webhook of its own")
        leg = await choose_leg(self.platform)
        algo = {
            "name": self.name,
            "legs": [leg],
            "product": "MIS",
            "accounts": [{"account_id": self.account_id}],
            "mappings": [{"group_id": self.group["group_id"]}],
        }
        self.algo = await self.platform.post("/api/v2/algos/", algo)
        self._step("Algo", in_words(leg))
        self.limit = await self.platform.post("/api/v2/risk/limits/", self._limit(STOP_LOSS))
        self._step("Risk limit", f"stop-loss of {rupees(STOP_LOSS)} on this strategy")

    async def enter(self) -> None:
        """From the alert to the fill. An order that waited out an outage is refused as too old: then alert anew."""
        for attempt in range(1, ALERTS + 1):
            try:
                return await self._enter(attempt)
            except Outdated as outdated:
                self.narrator.aside(f"{outdated}; the next alert follows")
                await self._pause(3)
        raise StepFailed("Alert", f"an order within {ALERTS} alerts", "each came too late")

    async def _enter(self, attempt: int) -> None:
        signal_id = await self._alert(attempt)
        received = await self._heard("SignalReceived", f"signal {signal_id}", lambda h: of_signal(h, signal_id))
        self._step("SignalReceived", "passed the rules of its group", received)
        acted = await self._heard("OrderRequested", "the algo to act on the signal", lambda h: is_decided(h, signal_id))
        self.told.order_id = order_of(acted)
        self._step("OrderRequested", f"the algo asks for order …{self.told.order_id[-6:]}", acted)
        submitted = await self._order("OrderCleared", LEFT_FOR_THE_VENUE)
        self.told.submitted_at, self.told.instrument = submitted.at, submitted.row["instrument"]
        terms = f"{submitted.row['side']} {submitted.row['quantity']} {self.told.instrument}"
        self._step("OrderCleared", f"by risk, on its way: {terms}", submitted)
        accepted = await self._order("OrderAccepted", TAKEN_BY_THE_VENUE)
        self._step("OrderAccepted", f"by the venue: {accepted.row['broker_order_id']}", accepted)
        filled = await self._order("FillReported", ("FILLED",))
        self.told.filled_at = filled.at
        self._step("FillReported", f"{filled.row['filled_quantity']} at {rupees(filled.row['average_price'])}", filled)

    async def hold(self) -> None:
        """The position is worth something else with every tick."""
        held = await self._position()
        self._step("Position", f"{held['quantity']:+} at {rupees(held['average_price'])} in {self.told.instrument}")
        for _ in range(WATCHED):
            self.narrator.aside(f"MTM {rupees(await self._mtm())}")
            await self._pause(0.7)
        deadline = stopwatch() + PATIENCE
        while not self._breached() and stopwatch() < deadline:
            mtm = await self._loss()
            if not self._breached():
                await self._tighten(mtm)
            await self._pause(RECOVERY_SECONDS)

    async def _loss(self) -> Decimal:
        """The MTM once it is a loss; a profit when it stays one for long."""
        deadline = stopwatch() + PROFIT_SECONDS
        mtm = await self._mtm()
        while mtm >= 0 and not self._breached() and stopwatch() < deadline:
            await self._pause(0.2)
            mtm = await self._mtm()
        return mtm

    async def exit(self) -> None:
        """From the breach to nothing left."""
        breach = await self._heard("MTMBreached", "the stop-loss to be crossed", self._is_breach)
        self.told.breached_at = breach.at
        said = breach.row["event"]
        self._step("MTMBreached", f"{said['kind']}: MTM {rupees(said['mtm'])}, limit {rupees(said['limit'])}", breach)
        leaving = await self._heard("Square-off", "an exit order", self._is_exit)
        self._step("Square-off", f"{leaving.row['side']} {leaving.row['quantity']} at market", leaving)
        flat = await self._heard("Flat", "the square-off to complete", self._is_complete)
        self.told.flat_at, self.told.pnl = flat.at, await self._mtm()
        self._step("Flat", f"final P&L {rupees(self.told.pnl)}", flat)

    async def clean_up(self) -> None:
        """The books keep what was traded; what was only set up for this run goes."""
        made = (
            ("/api/v2/risk/limits/", self.limit.get("limit_id")),
            ("/api/v2/algos/", self.algo.get("algo_id")),
            ("/api/v2/signals/", self.group.get("group_id")),
        )
        for path, entity_id in made:
            if entity_id:
                with contextlib.suppress(Refused):
                    await self.platform.delete(path + entity_id)

    async def _alert(self, attempt: int) -> str:
        """What TradingView sends."""
        alert = {
            "strategy_id": self.group["group_id"],
            "signal_type": "entry",
            "symbol": "NIFTY",
            "action": "buy",
            "quantity": 1,
            "price": "market",
            "alert_name": f"{self.name} #{attempt}",
        }
        self.told.alerted_at = self.moment = stopwatch()
        answer = await self.platform.alert(self.group["webhook"]["webhook_url"], alert)
        self._step("Alert", "to the webhook, as TradingView sends it: 202, kept")
        signal_id: str = answer["signal_id"]
        return signal_id

    async def _tighten(self, mtm: Decimal) -> None:
        """Nobody wants to wait for a real loss: put the stop where the market is already.

        In profit there is no loss to stop yet: then the first step down from the best price is the stop.
        """
        if mtm < 0:
            changed = self._limit((-mtm * Decimal("0.9")).quantize(Decimal("0.01")) or Decimal("0.01"))
            text = f"stop-loss moved up to {rupees(changed['stop_loss'])}, less than is lost"
        else:
            changed = self._limit(Decimal("0.01")) | {"trailing_stop": "0.01"}
            text = "in profit: the stop now trails the best price by a paisa"
        self.moment = stopwatch()
        await self.platform.put(f"/api/v2/risk/limits/{self.limit['limit_id']}", changed)
        self._step("Risk limit", text)

    def _limit(self, stop_loss: Decimal) -> Json:
        return {"level": "STRATEGY", "strategy_id": self.algo["algo_id"], "stop_loss": str(stop_loss)}

    async def _position(self) -> Json:
        """The account's position in what the algo traded."""
        path = f"/api/v2/trading/positions/{self.account_id}"
        held: list[Json] = (await self.platform.get(path))["data"]
        for position in held:
            if position["instrument"] == self.told.instrument and position["quantity"]:
                return position
        raise StepFailed("Position", f"a position in {self.told.instrument}", str(held))

    async def _mtm(self) -> Decimal:
        """Realised and unrealised, of this strategy's own book."""
        for book in (await self.platform.get("/api/v2/trading/positions/pnl"))["strategies"]:
            if book["strategy_id"] == self.algo["algo_id"]:
                return Decimal(book["mtm"])
        raise StepFailed("Position", "the strategy's book", "none")

    async def _order(self, step: str, statuses: tuple[str, ...]) -> Heard:
        def reached(heard: Heard) -> bool:
            return of_order(heard, "orders", self.told.order_id) and heard.row["status"] in statuses

        return await self._heard(step, f"order {self.told.order_id} to be {' or '.join(statuses)}", reached)

    async def _heard(self, step: str, waited_for: str, matches: Matches) -> Heard:
        heard = await self.stream.until(lambda h: matches(h) or self._is_refusal(h), PATIENCE)
        if heard and not matches(heard) and heard.row.get("rule") == "REQUEST_EXPIRED":
            raise Outdated("risk refused the order: it waited too long in an outage")
        if heard is None or not matches(heard):
            last = heard or (self.stream.heard[-1] if self.stream.heard else "nothing")
            raise StepFailed(step, waited_for, str(last))
        return heard

    def _is_refusal(self, heard: Heard) -> bool:
        """Our entry was refused: no use to wait on."""
        return of_order(heard, "orders", self.told.order_id) and heard.row["status"] in ("DENIED", "REJECTED")

    def _is_breach(self, heard: Heard) -> bool:
        return self._of_risk(heard, "MTMBreached")

    def _is_complete(self, heard: Heard) -> bool:
        return self._of_risk(heard, "SquareOffCompleted")

    def _of_risk(self, heard: Heard, kind: str) -> bool:
        is_kind = heard.channel == "risk" and heard.row["type"] == kind
        return is_kind and heard.row["event"]["strategy_id"] == self.algo["algo_id"]

    def _is_exit(self, heard: Heard) -> bool:
        ours = heard.row.get("strategy_id") == self.algo["algo_id"]
        return heard.channel == "orders" and ours and heard.row["purpose"] == "SQUARE_OFF"

    def _breached(self) -> bool:
        return any(map(self._is_breach, self.stream.heard))

    async def _pause(self, seconds: float) -> None:
        """Until then, or until the stop-loss is crossed by itself."""
        await self.stream.until(self._is_breach, seconds)

    def _step(self, name: str, text: str, heard: Heard | None = None) -> None:
        """Its latency is the time since the step before; what came together took nothing."""
        at = max(self.moment, heard.at) if heard else stopwatch()
        self.narrator.step(name, text, at - self.moment)
        self.moment = at


def of_signal(heard: Heard, signal_id: str) -> bool:
    return heard.channel == "signals" and heard.row["signal_id"] == signal_id


def is_decided(heard: Heard, signal_id: str) -> bool:
    return of_signal(heard, signal_id) and bool(heard.row["decisions"])


def order_of(heard: Heard) -> str:
    """The order that the algo asked for; Outdated when it did not care for the signal any more."""
    decisions: list[Json] = heard.row["decisions"]
    for decision in decisions:
        if decision["type"] == "SignalActedOn":
            order_id: str = decision["order_ids"][0]
            return order_id
    raise Outdated(f"the algo skipped the signal: {decisions[0]['reason']}")


def of_order(heard: Heard, channel: str, order_id: str) -> bool:
    return heard.channel == channel and heard.row["order_id"] == order_id
