from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.enums import FeedSource, OptionType, TickFault
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote
from services.marketdata.domain.ticks import fault_of, opening, quote_of
from services.marketdata.memory.board import REPEAT_EVERY, QuoteBoard
from tests.services.marketdata.samples import OPEN, SBIN, listed, tick


@pytest.fixture
def board() -> QuoteBoard:
    return QuoteBoard()


@pytest.mark.parametrize("ltp", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_no_price_is_refused(ltp: float) -> None:
    assert fault_of(tick().model_copy(update={"ltp": ltp}), None) is TickFault.PRICE


def test_a_crossed_book_is_refused() -> None:
    assert fault_of(tick().model_copy(update={"bid": 101.0, "ask": 100.0}), None) is TickFault.CROSSED


def test_an_index_without_a_book_is_fine() -> None:
    assert fault_of(tick().model_copy(update={"bid": 0.0, "ask": 0.0}), None) is None


def test_a_price_outside_the_exchange_s_band_is_refused(board: QuoteBoard) -> None:
    board.previous_closes = {SBIN: 100.0}
    board.begin_day(OPEN, {SBIN: listed().model_copy(update={"price_band": Decimal("0.10")})})
    assert board.take(tick(1, 110)) is None
    assert board.take(tick(2, 110.1)) is TickFault.BAND
    assert board.take(tick(3, 89.9)) is TickFault.BAND
    assert board.take(tick(4, 90)) is None


def test_the_band_that_the_exchange_has_in_force_counts_and_may_move_in_the_day(board: QuoteBoard) -> None:
    board.previous_closes = {SBIN: 100.0}
    board.begin_day(OPEN, {SBIN: listed().model_copy(update={"price_band": Decimal("0.10")})})
    board.limit({SBIN: (80.0, 120.0)})
    assert board.take(tick(1, 120)) is None
    assert board.take(tick(2, 120.05)) is TickFault.BAND
    board.limit({SBIN: (80.0, 140.0)})
    assert board.take(tick(3, 120.05)) is None
    board.begin_day(OPEN, {})
    assert board.take(tick(4, 500)) is None


@pytest.mark.parametrize(
    ("kind", "fits", "too_dear"), [(OptionType.CE, 24_000, 25_300), (OptionType.PE, 23_000, 23_001)]
)
def test_openalgo_1813_an_index_price_is_no_option_price(
    board: QuoteBoard, kind: OptionType, fits: float, too_dear: float
) -> None:
    """A call is worth at most its underlying, a put at most its strike."""
    index, option = InstrumentId("NSE_INDEX:NIFTY"), InstrumentId("NFO:NIFTY24NOV2623000XE")
    terms = {"instrument": option, "option_type": kind, "strike": Decimal(23_000), "spot": index}
    board.begin_day(OPEN, {option: listed().model_copy(update=terms)})
    board.take(tick(1, 24_000, instrument=index))
    board.conflate()
    assert board.take(tick(2, too_dear, instrument=option)) is TickFault.BAND
    assert board.take(tick(2, fits, instrument=option)) is None


def test_what_is_of_yesterday_or_of_the_future_is_refused(board: QuoteBoard) -> None:
    board.begin_day(OPEN, {})
    assert board.take(tick(-1)) is TickFault.OLD_DAY
    early = tick(60).model_copy(update={"received_at": OPEN})
    assert board.take(early) is TickFault.FUTURE


def test_a_tick_that_is_older_or_the_same_again_is_refused(board: QuoteBoard) -> None:
    assert board.take(tick(5)) is None
    assert board.take(tick(5)) is TickFault.OUT_OF_ORDER
    assert board.take(tick(4)) is TickFault.OUT_OF_ORDER
    assert board.take(tick(6)) is None


def test_a_bad_tick_leaves_the_quote_as_it_was(board: QuoteBoard) -> None:
    board.take(tick(1, 100))
    board.take(tick(2, -5))
    assert [quote.ltp for quote in board.conflate()] == [100]


def test_a_quote_carries_the_day_s_open_high_and_low_and_yesterday_s_close(board: QuoteBoard) -> None:
    board.previous_closes = {SBIN: 98.0}
    for n, price in enumerate((100, 104, 97, 101)):
        board.take(tick(n, price))
    (quote,) = board.conflate()
    assert (quote.open, quote.high, quote.low, quote.ltp, quote.previous_close) == (100, 104, 97, 101, 98)


def test_the_day_s_open_high_and_low_are_the_exchange_s_where_the_feed_tells_them(board: QuoteBoard) -> None:
    """We begin to carry an instrument at noon, say. What we saw ourselves counts as well: a snapshot may lack it."""
    board.exchange_ranges = {SBIN: (99.0, 108.0, 96.0)}
    for n, price in enumerate((100, 104, 101)):
        board.take(tick(n, price))
    (quote,) = board.conflate()
    assert (quote.open, quote.high, quote.low, quote.ltp) == (99, 108, 96, 101)
    board.take(tick(3, 109))
    board.take(tick(4, 95))
    (quote,) = board.conflate()
    assert (quote.open, quote.high, quote.low, quote.ltp) == (99, 109, 95, 95)


def test_the_day_s_range_begins_with_the_first_trade_not_with_the_last_price_of_the_day_before(
    board: QuoteBoard,
) -> None:
    """A broker repeats it beside the book of the new day until something is traded."""
    board.take(tick(0, 150.0, volume=900).model_copy(update={"source": FeedSource.LIVE}))
    board.conflate()
    day = 86_400
    for seconds, price, volume in ((1, 150.0, 0), (2, 150.0, 0), (3, 80.0, 75), (4, 84.0, 150)):
        board.take(tick(day + seconds, price, volume).model_copy(update={"source": FeedSource.LIVE}))
    (quote,) = board.conflate()
    assert (quote.open, quote.high, quote.low, quote.previous_close) == (80, 84, 80, 150)


def test_a_restart_puts_right_what_was_saved_of_the_day(board: QuoteBoard) -> None:
    board.restore([quote_of(tick(0, 100), opening(100.0, 98.0))])
    board.exchange_ranges = {SBIN: (99.0, 108.0, 96.0)}
    board.take(tick(1, 101))
    (quote,) = board.conflate()
    assert (quote.open, quote.high, quote.low, quote.previous_close) == (99, 108, 96, 98)


def test_a_new_day_begins_a_new_range_after_the_old_day_s_last_price(board: QuoteBoard) -> None:
    board.take(tick(0, 100))
    board.conflate()
    board.take(tick(86_400, 110))
    (quote,) = board.conflate()
    assert (quote.open, quote.low, quote.previous_close) == (110, 110, 100)


def test_only_what_changed_is_in_a_conflation_and_only_its_newest(board: QuoteBoard) -> None:
    board.take(tick(1, 100))
    board.take(tick(2, 101))
    assert [quote.ltp for quote in board.conflate()] == [101]


def test_a_silent_instrument_is_repeated_within_five_seconds(board: QuoteBoard) -> None:
    board.take(tick(1))
    board.conflate()
    seen = [quote.instrument for _ in range(REPEAT_EVERY) for quote in board.conflate()]
    assert seen == [SBIN]
    assert REPEAT_EVERY * 0.1 < 5


def test_what_redis_did_not_take_is_offered_again_with_what_is_newer(board: QuoteBoard) -> None:
    board.take(tick(1, 100))
    board.conflate()
    lost = board.unsaved()
    board.take(tick(2, 101))
    board.conflate()
    board.not_saved(lost)
    assert [quote.ltp for quote in board.unsaved().values()] == [101]
    assert board.unsaved() == {}


def test_a_restart_goes_on_with_the_day_s_range(board: QuoteBoard) -> None:
    for n, price in enumerate((100, 104, 97)):
        board.take(tick(n, price))
    saved: tuple[Quote, ...] = board.conflate()
    after = QuoteBoard()
    after.restore(saved)
    after.take(tick(60, 99))
    (quote,) = after.conflate()
    assert (quote.open, quote.high, quote.low, quote.ltp) == (100, 104, 97, 99)


def test_a_delisted_contract_is_quoted_no_more(board: QuoteBoard) -> None:
    board.take(tick(1))
    board.conflate()
    board.forget([SBIN, InstrumentId("NSE:NEVER")])
    assert not any(board.conflate() for _ in range(REPEAT_EVERY))


def test_the_day_turns_at_midnight_in_india_not_in_greenwich(board: QuoteBoard) -> None:
    midnight = (timedelta(hours=14, minutes=45)).total_seconds()
    board.take(tick(midnight - 1, 100))
    board.conflate()
    board.take(tick(midnight + 1, 110))
    (quote,) = board.conflate()
    assert (quote.open, quote.previous_close) == (110, 100)
    assert (OPEN + timedelta(seconds=midnight)).hour == 18


def test_the_close_that_an_exchange_tells_counts_before_what_we_heard_last() -> None:
    """What nobody needed for a week was not carried: our last price of it is a week old."""
    board = QuoteBoard()
    week_ago = tick(-7 * 86_400, 70.0).model_copy(update={"source": FeedSource.LIVE})
    board.restore([quote_of(week_ago, opening(70.0, 69.0))])
    board.previous_closes = {SBIN: 98.0}
    board.take(tick(0, 100.0).model_copy(update={"source": FeedSource.LIVE}))
    assert board.conflate()[0].previous_close == 98.0
