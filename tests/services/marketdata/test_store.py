import csv
import io
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType, Series
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import MasterSource
from libs.common.database import Connection
from libs.common.testing import NOON
from services.marketdata.domain import symbols
from services.marketdata.domain.masters import TERMS, Change
from services.marketdata.store import ContractStore
from tests.services.marketdata.samples import listed

DAY = date(2026, 11, 23)
TOMORROW = DAY + timedelta(days=1)
ZERODHA, UPSTOX = MasterSource.ZERODHA, MasterSource.UPSTOX


@pytest.fixture
async def store(connection: Connection) -> ContractStore:
    for table in ("contracts", "broker_contracts", "pending_listings"):
        await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
    return ContractStore(connection)


def option(strike: int, expiry: date = DAY, lot: int = 65) -> InstrumentListed:
    symbol = symbols.Option("NIFTY", expiry, Decimal(strike), OptionType.CE)
    return InstrumentListed(
        instrument=symbols.instrument_id(Exchange.NFO, symbol),
        exchange=Exchange.NFO,
        symbol=str(symbol),
        name="NIFTY",
        kind=InstrumentKind.OPTION,
        underlying="NIFTY",
        spot=InstrumentId("NSE_INDEX:NIFTY"),
        expiry=expiry,
        strike=Decimal(strike),
        option_type=OptionType.CE,
        lot_size=lot,
        tick_size=Decimal("0.05"),
    )


async def dump(store: ContractStore, source: MasterSource, contracts: Sequence[InstrumentListed], day: date) -> None:
    """Tokens are the source and the place in the dump, as a broker's are its own."""
    file = io.StringIO()
    csv.writer(file).writerows(
        [
            each.instrument,
            *(getattr(each, name, None) for name in TERMS),
            f"{source.value}-{n}",
            f"{source.value}:{each.symbol}",
        ]
        for n, each in enumerate(contracts)
    )
    await store.connection.execute("DROP TABLE IF EXISTS staged")
    await store.master.stage(file.getvalue().encode())
    await store.master.replace(source, day)


async def publish(
    store: ContractStore, *master: InstrumentListed, day: date = DAY, source: MasterSource = ZERODHA
) -> dict[str, Change]:
    await dump(store, source, master, day)
    return await differences(store, day)


async def differences(store: ContractStore, day: date) -> dict[str, Change]:
    await store.master.compare(day, [ZERODHA, UPSTOX], announce=True)
    return {row["symbol"]: Change(row["change"]) for row in await store.publish_pending(1000, NOON)}


async def test_the_first_master_is_published_whole_and_is_no_news(store: ContractStore) -> None:
    assert await publish(store, listed("SBIN"), listed("INFY")) == {"SBIN": Change.QUIET, "INFY": Change.QUIET}


async def test_the_same_master_again_publishes_nothing(store: ContractStore) -> None:
    await publish(store, listed("SBIN"), listed("INFY"))
    assert await publish(store, listed("INFY"), listed("SBIN")) == {}


async def test_a_new_contract_of_a_known_exchange_is_news(store: ContractStore) -> None:
    await publish(store, listed("SBIN"))
    assert await publish(store, listed("SBIN"), listed("NEW")) == {"NEW": Change.ADDED}


async def test_a_changed_lot_says_what_it_was(store: ContractStore) -> None:
    await publish(store, option(24000, TOMORROW, lot=75))
    await dump(store, ZERODHA, [option(24000, TOMORROW, lot=65)], DAY)
    await store.master.compare(DAY, [ZERODHA], announce=True)
    (row,) = await store.publish_pending(10, NOON)
    assert (row["change"], row["old_lot_size"], row["lot_size"]) == (Change.TERMS, 75, 65)


async def test_a_share_that_is_moved_to_another_series_is_told_without_a_word_of_news(store: ContractStore) -> None:
    """Its brokers call it by another name from then on."""
    await publish(store, of_series("SBIN", Series.EQ), listed("INFY"))
    assert await publish(store, of_series("SBIN", Series.BE), listed("INFY")) == {"SBIN": Change.QUIET}
    found = await store.find(InstrumentId("NSE:SBIN"))
    assert found == of_series("SBIN", Series.BE)


async def test_the_series_is_that_of_the_first_broker_who_tells_one(store: ContractStore) -> None:
    await dump(store, ZERODHA, [of_series("SBIN", Series.BE), listed("INFY")], DAY)
    await publish(store, of_series("SBIN", Series.EQ), of_series("INFY", Series.BE), source=UPSTOX)
    found = [await store.find(InstrumentId(f"NSE:{symbol}")) for symbol in ("SBIN", "INFY")]
    assert [each and each.series for each in found] == [Series.BE, Series.BE]


async def test_where_the_first_broker_counts_contracts_a_lot_is_what_the_next_says(store: ContractStore) -> None:
    """On paper a lot of crude oil was one barrel, and gained and lost a hundredth of what it is worth."""
    counted, told = crude(lot=1), crude(lot=100, freeze=10_000)
    await dump(store, ZERODHA, [counted, listed("SBIN"), option(24000, TOMORROW, lot=1)], DAY)
    await publish(store, told, option(24000, TOMORROW, lot=65), source=UPSTOX)
    found = await store.find(told.instrument)
    assert found == told
    assert await store.lots(ZERODHA) == {told.instrument: 100}
    assert await store.lots(UPSTOX) == {}
    index = await store.find(option(24000, TOMORROW).instrument)
    assert index is not None
    assert index.lot_size == 1, "shares and what is written on them everybody counts in units"


async def test_what_is_frozen_is_so_many_lots_of_whoever_says_it(store: ContractStore) -> None:
    await dump(store, ZERODHA, [crude(lot=1, freeze=30)], DAY)
    await publish(store, crude(lot=100), source=UPSTOX)
    found = await store.find(crude().instrument)
    assert found is not None
    assert (found.lot_size, found.freeze_quantity) == (100, 3_000)


def crude(lot: int = 100, freeze: int | None = None) -> InstrumentListed:
    symbol = symbols.Future("CRUDEOIL", TOMORROW)
    return InstrumentListed(
        instrument=symbols.instrument_id(Exchange.MCX, symbol),
        exchange=Exchange.MCX,
        symbol=str(symbol),
        name="CRUDEOIL",
        kind=InstrumentKind.FUTURE,
        underlying="CRUDEOIL",
        expiry=TOMORROW,
        lot_size=lot,
        tick_size=Decimal(1),
        freeze_quantity=freeze,
    )


def of_series(symbol: str, series: Series) -> InstrumentListed:
    return listed(symbol).model_copy(update={"series": series})


async def test_the_day_after_its_expiry_a_contract_expires_and_stays_resolvable(store: ContractStore) -> None:
    await publish(store, option(24000), option(24000, TOMORROW))
    assert await differences(store, TOMORROW) == {"NIFTY23NOV2624000CE": Change.EXPIRED}
    found = await store.find(option(24000).instrument)
    assert found is not None
    assert (found.expiry, found.tradable) == (DAY, False)
    (broker,) = await store.brokers_of(option(24000).instrument)
    assert broker["token"] == "zerodha-0"
    assert await differences(store, TOMORROW) == {}


async def test_a_share_that_leaves_every_dump_is_withdrawn_once(store: ContractStore) -> None:
    await publish(store, listed("SBIN"), listed("GONE"))
    await publish(store, listed("SBIN"))
    assert await publish(store, listed("SBIN"), day=TOMORROW) == {"GONE": Change.WITHDRAWN}
    assert await publish(store, listed("SBIN"), day=TOMORROW) == {}
    assert await publish(store, listed("SBIN"), listed("GONE"), day=TOMORROW) == {"GONE": Change.ADDED}


async def test_a_share_that_only_one_days_dump_lacks_is_traded_on_that_day(store: ContractStore) -> None:
    """Who held it could not sell it, and it had no price, until the next morning."""
    await publish(store, listed("SBIN"), listed("INFY"))
    for day in (DAY, TOMORROW):
        assert await publish(store, listed("SBIN"), day=day) == {}, "and however often it is fetched"
        assert await publish(store, listed("SBIN"), day=day) == {}
        assert await publish(store, listed("SBIN"), listed("INFY"), day=day) == {}
    found = await store.find(listed("INFY").instrument)
    assert found is not None
    assert (found.tradable, found.delisted) == (True, False)


async def test_a_share_whose_token_means_another_now_was_renamed_and_is_withdrawn_at_once(
    store: ContractStore,
) -> None:
    """Kept beside its new name for a day, its price would go to either of them."""
    await publish(store, listed("SBIN"), listed("ZOMATO"))
    said = await publish(store, listed("SBIN"), listed("ETERNAL"), day=TOMORROW)
    assert said == {"ZOMATO": Change.WITHDRAWN, "ETERNAL": Change.ADDED}


async def test_what_the_feed_lists_no_more_is_withdrawn_at_once(store: ContractStore) -> None:
    """A simulator's contracts, when a live feed takes its place."""
    feed = MasterSource.FEED
    await publish(store, listed("SBIN"), listed("INFY"), source=feed)
    assert await publish(store, listed("SBIN"), source=feed) == {"INFY": Change.WITHDRAWN}


async def test_what_another_broker_still_lists_is_not_withdrawn(store: ContractStore) -> None:
    await publish(store, listed("SBIN"), listed("INFY"))
    await dump(store, UPSTOX, [listed("SBIN"), listed("INFY")], DAY)
    assert await publish(store, listed("SBIN")) == {}


async def test_of_two_brokers_terms_those_of_the_first_in_order_count(store: ContractStore) -> None:
    await dump(store, UPSTOX, [option(24000, TOMORROW, lot=75)], DAY)
    await dump(store, ZERODHA, [option(24000, TOMORROW, lot=65)], DAY)
    await differences(store, DAY)
    found = await store.find(option(24000, TOMORROW).instrument)
    assert found is not None
    assert found.lot_size == 65


async def test_a_freeze_quantity_that_only_one_broker_knows_is_kept_in_whole_lots(store: ContractStore) -> None:
    await dump(store, ZERODHA, [option(24000, TOMORROW, lot=35)], DAY)
    await dump(store, UPSTOX, [option(24000, TOMORROW, lot=30).model_copy(update={"freeze_quantity": 600})], DAY)
    await differences(store, DAY)
    found = await store.find(option(24000, TOMORROW).instrument)
    assert found is not None
    assert found.freeze_quantity == 595


async def test_a_brokers_token_and_symbol_lead_to_the_instrument_and_back(store: ContractStore) -> None:
    await publish(store, listed("SBIN"), listed("INFY"))
    (by_token,) = await store.look_up(ZERODHA, token="zerodha-1", symbol=None, exchange=None)
    assert by_token["instrument"] == "NSE:INFY"
    (by_symbol,) = await store.look_up(ZERODHA, token=None, symbol="zerodha:SBIN", exchange="NSE")
    assert (by_symbol["instrument"], by_symbol["token"]) == ("NSE:SBIN", "zerodha-0")
    assert await store.look_up(UPSTOX, token="zerodha-1", symbol=None, exchange=None) == []


async def test_a_token_that_is_used_again_means_the_contract_of_today(store: ContractStore) -> None:
    await publish(store, option(24000))
    await publish(store, option(25000, TOMORROW), day=TOMORROW)
    found = await store.look_up(ZERODHA, token="zerodha-0", symbol=None, exchange="NFO")
    assert [row["instrument"] for row in found] == ["NFO:NIFTY24NOV2625000CE", "NFO:NIFTY23NOV2624000CE"]


async def test_what_was_not_yet_published_before_a_crash_is_published_after_it(store: ContractStore) -> None:
    await dump(store, ZERODHA, [listed("SBIN"), listed("INFY")], DAY)
    await store.master.compare(DAY, [ZERODHA], announce=True)
    assert len(await store.publish_pending(1, NOON)) == 1
    assert len(await differences(store, DAY)) == 1
    assert await differences(store, DAY) == {}


async def test_a_change_that_was_taken_back_before_it_was_published_is_not(store: ContractStore) -> None:
    await publish(store, listed("SBIN"))
    await dump(store, ZERODHA, [listed("SBIN", "0.10")], DAY)
    await store.master.compare(DAY, [ZERODHA], announce=True)
    assert await publish(store, listed("SBIN")) == {}


async def test_a_strike_of_any_notation_is_the_same_contract_after_a_round_trip(store: ContractStore) -> None:
    await publish(store, listed().model_copy(update={"strike": Decimal("292.50")}))
    assert await publish(store, listed().model_copy(update={"strike": Decimal("292.5")})) == {}


async def test_the_census_counts_what_is_missing_by_exchange(store: ContractStore) -> None:
    await publish(store, *(option(strike, TOMORROW) for strike in range(24000, 25000, 100)), listed("SBIN"))
    await store.connection.execute("DROP TABLE IF EXISTS staged")
    await dump_only(store, [option(strike, TOMORROW) for strike in range(24000, 24300, 100)])
    nfo, nse = await store.master.census(ZERODHA, DAY)
    assert (nfo.exchange, nfo.known, nfo.kept, nfo.staged, nfo.live) == ("NFO", 10, 3, 3, 3)
    assert (nse.exchange, nse.known, nse.kept, nse.staged) == ("NSE", 1, 0, 0)


async def dump_only(store: ContractStore, contracts: Sequence[InstrumentListed]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows(
        [each.instrument, *(getattr(each, name, None) for name in TERMS), "1", "x"] for each in contracts
    )
    await store.master.stage(file.getvalue().encode())


async def test_a_token_that_is_no_number_is_one_instrument_less_and_not_the_end_of_the_feed(
    store: ContractStore,
) -> None:
    await publish(store, listed("SBIN"), listed("INFY"), listed("TCS"))
    for symbol, token in (("SBIN", "779521"), ("INFY", "779,522"), ("TCS", "9" * 30)):
        renamed = "UPDATE broker_contracts SET token = $1 WHERE symbol = $2"
        await store.connection.execute(renamed, token, symbol)
    assert await store.tokens(ZERODHA, DAY) == {"NSE:SBIN": 779_521}
