"""The gateway's rules, without a server."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import Exchange, FeedSource, OrderStatus
from libs.common.contracts.ids import UserId
from services.gateway.domain import cursors, roles
from services.gateway.domain.answers import is_decided, status_code
from services.gateway.domain.cursors import Cursor
from services.gateway.domain.idempotency import Claim, Fate, fate, is_final
from services.gateway.domain.roles import Identity, Role
from services.gateway.domain.symbols import instrument_of, search_words
from services.gateway.domain.valuation import Holding, LastPrice, exposure

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
ASHA, RAVI = UserId(UUID(int=1)), UserId(UUID(int=2))


def identity(role: Role, *, may_trade: bool = True) -> Identity:
    return Identity(ASHA, role, "session", may_trade=may_trade)


@given(st.integers(0, 4_000_000_000_000_000).map(lambda us: EPOCH + timedelta(microseconds=us)), st.uuids())
def test_a_cursor_comes_back_as_it_went(at: datetime, row: UUID) -> None:
    assert cursors.decode(cursors.encode(Cursor(at, row.hex))) == Cursor(at, row.hex)


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_recognised(text: str) -> None:
    found = cursors.decode(text)
    assert found is None or len(found.id) == 32


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (Claim(b"same", NOON + timedelta(seconds=5), None), Fate.IN_FLIGHT),
        (Claim(b"same", NOON - timedelta(seconds=5), None), Fate.RUN),
        (Claim(b"same", NOON + timedelta(seconds=5), 201), Fate.REPLAY),
        (Claim(b"other", NOON - timedelta(seconds=5), None), Fate.OTHER_BODY),
        (Claim(b"other", NOON + timedelta(seconds=5), 201), Fate.OTHER_BODY),
    ],
)
def test_a_key_means_one_request(claim: Claim, expected: Fate) -> None:
    assert fate(claim, b"same", NOON) is expected


def test_only_what_is_decided_is_replayed_for_a_day() -> None:
    assert [status for status in (200, 201, 202, 204, 404, 409, 422, 500, 503) if is_final(status)] == [
        200,
        201,
        204,
        404,
        409,
        422,
    ]


def test_a_viewer_and_a_reading_key_change_nothing() -> None:
    assert roles.refusal_to_change(identity(Role.TRADER)) is None
    assert "viewer" in (roles.refusal_to_change(identity(Role.VIEWER)) or "")
    assert "scope" in (roles.refusal_to_change(identity(Role.SUPER_ADMIN, may_trade=False)) or "")


@pytest.mark.parametrize("role", list(Role))
def test_nobody_makes_himself_more_than_he_is(role: Role) -> None:
    assert roles.refusal_of_role_change(identity(role), ASHA, role, Role.SUPER_ADMIN) is not None


@given(st.sampled_from(Role), st.sampled_from(Role), st.sampled_from(Role))
def test_only_a_super_admin_makes_or_unmakes_admins(actor: Role, old: Role, new: Role) -> None:
    allowed = roles.refusal_of_role_change(identity(actor), RAVI, old, new) is None
    expected = actor is Role.SUPER_ADMIN or (actor is Role.ADMIN and not old.is_admin and not new.is_admin)
    assert allowed == expected


def test_books_are_seen_by_their_owner_and_by_admins() -> None:
    assert roles.may_see(identity(Role.VIEWER), ASHA)
    assert not roles.may_see(identity(Role.TRADER), RAVI)
    assert roles.may_see(identity(Role.ADMIN), RAVI)


@pytest.mark.parametrize(
    ("symbol", "exchange", "expected"),
    [
        ("NSE:SBIN", None, "NSE:SBIN"),
        ("nse:sbin", None, "NSE:SBIN"),
        ("SBIN", "NSE", "NSE:SBIN"),
        ("M&M", "NSE", "NSE:M&M"),
        ("BAJAJ-AUTO", "NSE", "NSE:BAJAJ-AUTO"),
        ("NSE_INDEX:NIFTY", None, "NSE_INDEX:NIFTY"),
        ("NSE:SBIN", "NSE", "NSE:SBIN"),
        ("NSE:SBIN", "BSE", None),
        ("SBIN", None, None),
        ("XYZ:SBIN", None, None),
        ("NSE:", None, None),
        ("NSE:SBIN;DROP", None, None),
    ],
)
def test_an_instrument_is_read_as_people_write_it(symbol: str, exchange: str | None, expected: str | None) -> None:
    assert instrument_of(symbol, exchange) == expected


@given(st.sampled_from(Exchange), st.from_regex(r"[A-Z0-9&_.-]{1,60}", fullmatch=True))
def test_an_instruments_name_is_its_own_reading(exchange: Exchange, symbol: str) -> None:
    assert instrument_of(f"{exchange}:{symbol}") == f"{exchange}:{symbol}"


def test_a_search_is_cut_where_letters_meet_digits() -> None:
    assert search_words("nifty24000ce 27nov") == ["NIFTY", "24000", "CE", "27", "NOV"]
    assert search_words("'; drop table | & !") == ["DROP", "TABLE", "&"]


@pytest.mark.parametrize("status", list(OrderStatus))
def test_openalgo_1618_an_answer_is_201_only_for_an_order_that_was_taken(status: OrderStatus) -> None:
    expected = {
        OrderStatus.REQUESTED: 202,
        OrderStatus.SUBMITTED: 202,
        OrderStatus.OUTCOME_UNKNOWN: 202,
        OrderStatus.DENIED: 422,
        OrderStatus.REJECTED: 422,
    }.get(status, 201)
    assert status_code(status) == expected
    assert is_decided(status) == (status not in (OrderStatus.REQUESTED, OrderStatus.SUBMITTED))


money = st.decimals(Decimal("0.05"), Decimal(100_000), places=2)
prices = st.builds(LastPrice, money, st.datetimes(timezones=st.just(UTC)), st.booleans())
holdings = st.builds(
    Holding, st.integers(-10_000, 10_000), money, money.map(lambda m: m - 50_000), money, st.none() | prices
)


@given(st.lists(holdings, max_size=20))
def test_exposure_adds_up(held: list[Holding]) -> None:
    total = exposure(held)
    assert abs(total.net_value) <= total.gross_value
    assert total.mtm == sum((h.realised_pnl + h.unrealised_pnl for h in held), Decimal(0))
    assert total.open_positions == sum(h.quantity != 0 for h in held)


def test_a_profit_is_as_old_as_the_oldest_price_of_what_is_open() -> None:
    def held(quantity: int, minutes: float | None, *, stale: bool = False) -> Holding:
        last = (
            None
            if minutes is None
            else LastPrice(Decimal(9), NOON - timedelta(minutes=minutes), FeedSource.LIVE, stale)
        )
        return Holding(quantity, Decimal(8), Decimal(0), Decimal(0), last)

    def told(*holdings: Holding) -> tuple[datetime | None, bool]:
        total = exposure(holdings)
        return total.ltp_at, total.stale

    assert told(held(1, 0), held(-1, 2, stale=True)) == (NOON - timedelta(minutes=2), True)
    assert told(held(1, 0), held(0, 2, stale=True), held(0, None)) == (NOON, False), "nothing flat is valued"
    assert told(held(1, 0), held(1, None)) == (None, True)
    assert told() == (None, False)


def test_a_position_without_a_price_neither_gains_nor_loses() -> None:
    held = Holding(75, Decimal("100.05"), Decimal(5), Decimal(0), None)
    assert (held.unrealised_pnl, held.value) == (Decimal(0), Decimal("7503.75"))


def test_a_short_position_gains_when_the_price_falls() -> None:
    last = LastPrice(Decimal(90), NOON, FeedSource.LIVE, stale=False)
    assert Holding(-75, Decimal(100), Decimal(0), Decimal(0), last).unrealised_pnl == Decimal(750)


def test_a_short_position_at_its_price_is_worth_nothing_and_not_less() -> None:
    """Else clients show −0.00."""
    last = LastPrice(Decimal("177.90"), NOON, FeedSource.LIVE, stale=False)
    held = Holding(-65, Decimal("177.9000"), Decimal(0), Decimal(0), last)
    assert str(held.unrealised_pnl) == "0.00"
