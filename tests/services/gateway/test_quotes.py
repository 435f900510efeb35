"""Which price of an instrument is shown, and when it is told to be stale."""

from datetime import UTC, datetime, timedelta

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Depth
from services.gateway.memory.prices import Mode, Prices, Topic
from services.gateway.memory.quotes import QuoteView
from tests.services.gateway.said import quote

NOON = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
NAME = InstrumentId("NSE:INFY")


def told(view: QuoteView, ltp: float, seconds: float, now: float) -> None:
    """A price of a moment, told at another; both in seconds after noon."""
    view.update([quote(NAME, ltp, NOON + timedelta(seconds=seconds))], NOON + timedelta(seconds=now))


def shown(view: QuoteView, now: float) -> object:
    found = view.show(NAME, NOON + timedelta(seconds=now))
    return found and found["ltp"]


def test_the_newest_price_counts_whichever_road_it_came_by() -> None:
    view = QuoteView()
    told(view, 101, seconds=2, now=2)
    told(view, 100, seconds=1, now=3)
    assert shown(view, now=3) == 101


def test_a_feed_is_called_by_what_it_carries_and_not_by_what_is_computed_from_it() -> None:
    """A replay was REPLAYED at one look and DERIVED at the next, as it happened to end its batch."""
    view, spot = QuoteView(), quote(NAME, 100, NOON)
    option = spot.model_copy(update={"instrument": InstrumentId("NFO:INFY29DEC26100CE"), "source": FeedSource.DERIVED})
    for batch in ([spot, option], [option]):
        view.update(batch, NOON)
        assert view.feed(NOON)["source"] is FeedSource.REPLAYED


def test_a_price_of_a_wrong_clock_does_not_hide_those_that_are_right() -> None:
    view = QuoteView()
    told(view, 999, seconds=86_400, now=0)
    told(view, 100, seconds=1, now=1)
    assert shown(view, now=1) == 100


def test_what_is_listed_no_more_is_forgotten_after_a_week_and_nothing_else() -> None:
    """A process that lived for months kept a quote of each contract that there had ever been."""
    view = QuoteView()
    for day in range(30):
        at = NOON + timedelta(days=day)
        contract = quote(InstrumentId(f"NFO:NIFTY-{day}"), 100, at)
        view.update([contract, quote(NAME, 100, at)], at)
    assert 7 <= len(view) <= 10
    assert view.newest(NAME) is not None
    assert view.newest(InstrumentId("NFO:NIFTY-25")) is not None


class Looker:
    """What a client would be written."""

    def __init__(self) -> None:
        self.fresh: dict[Topic, bytes] = {}

    def read(self) -> dict[Mode, bool]:
        """What was told since the last look: by mode, whether it is stale."""
        told, self.fresh = self.fresh, {}
        return {topic.mode: b'"stale":true' in frame for topic, frame in told.items()}


def test_a_watched_price_that_stands_still_is_told_once_to_be_stale_and_no_more_after_the_close() -> None:
    """Nobody who watches it would hear of it again: its feed went mute on it."""
    prices, looker, young = Prices(QuoteView()), Looker(), quote(NAME, 100, NOON)
    for mode in Mode:
        prices.topic(mode, NAME).watchers.add(looker)
    prices.deepened([Depth(instrument=NAME, at=NOON, source=FeedSource.LIVE, bids=(), asks=())], NOON)
    prices.quoted([young], NOON)
    assert looker.read() == dict.fromkeys(Mode, False)
    for seconds, heard in ((60, {}), (61, dict.fromkeys(Mode, True)), (66, {})):
        prices.quoted([young], NOON + timedelta(seconds=seconds))
        assert looker.read() == heard
    prices.quoted([young], NOON + timedelta(hours=8))
    assert looker.read() == dict.fromkeys(Mode, False)
