"""What nobody sane sends, or what an attacker would: refused with the reason, and no service behind us hears of it."""

import json
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest

from libs.common.problems import PROBLEM_JSON
from tests.services.gateway import said
from tests.services.gateway.scene import Person, Platform, shortest_pause

JSON = {"Content-Type": "application/json"}
ODD_TEXTS = ['"\\u0000"', '"a\\u0000b"', '"\\\\\\u0000"', '"\\ud800"', '"x\\udfff"']
COMMANDS: list[tuple[str, str, Callable[[str], str]]] = [
    ("POST", "accounts/", lambda text: f'{{"name": {text}}}'),
    ("POST", "accounts/", lambda text: f'{{"name": "a", "labels": [{text}]}}'),
    ("PUT", "accounts/{account}", lambda text: f'{{"name": {text}}}'),
    ("PUT", "accounts/{account}/credentials", lambda text: f'{{"api_key": {text}, "access_token": "t"}}'),
    ("POST", "signals/", lambda text: f'{{"name": {text}}}'),
    ("POST", "risk/panic/account/{account}", lambda text: f'{{"reason": {text}}}'),
    ("POST", "market/custom-symbols/", lambda text: CUSTOM % text),
    ("POST", "algos/", lambda text: ALGO % text),
]
MANY_FIELDS = "{" + ", ".join(f'"{n}": 1' for n in range(2_500)) + "}"
FEWER_FIELDS = "{" + ", ".join(f'"{n}": 1' for n in range(600)) + "}"
"""In less than a stranger may send."""
CUSTOM = '{"symbol": "PAIR", "name": %s, "legs": [{"instrument": "NSE:SBIN", "weight": 1}]}'
ALGO = (
    '{"name": "a", "product": "MIS", "accounts": [{"account_id": "{account}"}], '
    '"legs": [{"kind": "EQUITY", "instrument": "NSE:SBIN", "side": "BUY", "lots": 1, "underlying": %s}]}'
)


async def refusal(platform: Platform, person: Person, method: str, path: str, content: str) -> str:
    """Why it was refused."""
    path, content = (text.replace("{account}", str(person.account_id)) for text in (path, content))
    answer = await person.client.request(method, f"/api/v2/{path}", content=content, headers=JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM_JSON), (path, content, answer.text)
    assert platform.asked == [], (path, content)
    return str(answer.json()["detail"])


async def test_a_text_that_cannot_be_stored_is_refused_before_it_stops_what_follows_it(platform: Platform) -> None:
    """Seen: an account's name with a zero byte was parked by trading, and its cancels and its panic behind it."""
    asha = await platform.person("asha")
    for method, path, body in COMMANDS:
        for text in ODD_TEXTS:
            await refusal(platform, asha, method, path, body(text))


async def test_a_backslash_before_the_letters_of_a_zero_byte_is_a_text_like_any_other(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    made = await asha.client.post("/api/v2/accounts/", content=r'{"name": "\\u0000 \\\\u0000"}', headers=JSON)
    assert (made.status_code, made.json()["name"]) == (201, r"\u0000 \\u0000")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "1e30", str(10**30), str(2**63), str(2**64 - 1), "-1"])
async def test_a_number_that_no_table_holds_is_refused(platform: Platform, number: str) -> None:
    asha = await platform.person("asha")
    await refusal(platform, asha, "POST", "risk/limits/", f'{{"level": "USER", "max_open_positions": {number}}}')


@pytest.mark.parametrize("truth", ["true", "false"])
async def test_a_truth_value_is_no_number(platform: Platform, truth: str) -> None:
    """Seen: an order for `true` shares was taken, and bought one."""
    asha = await platform.person("asha")
    order = f'"account_id": "{asha.account_id}", "instrument": "NSE:SBIN", "side": "BUY", "product": "MIS"'
    for path, body in (
        ("trading/orders/place", f'{{{order}, "quantity": {truth}}}'),
        ("risk/limits/", f'{{"level": "USER", "max_open_positions": {truth}}}'),
        ("signals/", f'{{"name": "a", "max_signals_per_day": {truth}}}'),
        ("algos/", ALGO.replace('"lots": 1', f'"lots": {truth}') % '"NIFTY"'),
    ):
        assert f"a number, not {truth}" in await refusal(platform, asha, "POST", path, body)


@pytest.mark.parametrize("again", ['"quantity": 100', '"quantit\\u0079": 100', '"quantity": 1'])
async def test_an_order_that_names_a_field_twice_is_refused(platform: Platform, again: str) -> None:
    """Seen: the last one was traded. What stands between us and the client may have gone by the first."""
    asha = await platform.person("asha")
    order = f'"account_id": "{asha.account_id}", "instrument": "NSE:SBIN", "side": "BUY", "product": "MIS"'
    body = f'{{{order}, "quantity": 1, {again}}}'
    assert "'quantity' twice" in await refusal(platform, asha, "POST", "trading/orders/place", body)


@pytest.mark.parametrize(
    ("path", "is_known", "body"),
    [
        ("auth/login", False, FEWER_FIELDS),
        ("auth/register", False, FEWER_FIELDS),
        ("trading/orders/place", True, MANY_FIELDS),
        ("auth/api-keys", True, f'{{"name": "bot", "scopes": [{", ".join(["7"] * 8_000)}]}}'),
    ],
)
async def test_a_body_of_thousands_of_faults_is_refused_in_one_line(
    platform: Platform, path: str, is_known: bool, body: str
) -> None:
    """Each was told of: ten megabytes for one, and for a second nobody else was answered, before any login."""
    client = (await platform.person("asha")).client if is_known else await platform.client()
    answer = await client.post(f"/api/v2/{path}", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert len(answer.content) < 1_000, f"{len(answer.content)} bytes were answered"


async def test_nobody_waits_while_a_long_body_is_read_that_nobody_knows_who_sent(platform: Platform) -> None:
    """A MiB of small objects was read for a sixth of a second, again and again, before anybody looked who sends it."""
    asha, nobody = await platform.person("asha"), await platform.client()
    body = '{"email": [' + ", ".join(['{"a":1}'] * 110_000) + "]}"
    for path in ("auth/login", "auth/refresh", "accounts/"):
        pause, answer = await shortest_pause(partial(nobody.post, f"/api/v2/{path}", content=body, headers=JSON), 0.05)
        assert pause < 0.05, path
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    symbols = {"symbols": [f"NSE:S{n}" for n in range(1_000)]}
    assert (await asha.client.post("/api/v2/market/quotes/bulk", json=symbols)).status_code == 200


async def test_nobody_waits_while_a_user_is_told_that_his_body_is_too_long(platform: Platform) -> None:
    """A MiB was read for a tenth of a second, and an order's faults told for most of one, once a second by one user."""
    asha = await platform.person("asha")
    objects = ", ".join(['{"a":1}'] * 110_000)
    for path in ("trading/orders/place", "trading/orders/cancel", "risk/panic/user", "accounts/", "algos/"):
        for body in (f'{{"name": [{objects}]}}', " " * 200_000):
            ask = partial(asha.client.post, f"/api/v2/{path}", content=body, headers=JSON)
            pause, answer = await shortest_pause(ask, 0.05)
            assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM_JSON), (path, answer.text)
            assert answer.json()["code"] == "too_large", answer.text
            assert pause < 0.05, path
    assert platform.asked == []


async def test_the_longest_bodies_that_anybody_needs_are_taken(platform: Platform) -> None:
    asha = await platform.person("asha")
    platform.answer = said.yes
    account = {"name": "\U0001f600" * 100, "labels": ["\U0001f600" * 100] * 20}
    made = await asha.client.post("/api/v2/accounts/", content=json.dumps(account, indent=8), headers=JSON)
    assert (made.status_code, made.json()["labels"]) == (201, account["labels"])
    linked = [{"account_id": str(UUID(int=n + 1)), "multiplier": "1.25"} for n in range(200)]
    mapped = {"group_id": str(UUID(int=7)), "entry_on": "entry", "entry_action": "BUY", "exit_action": "SELL"}
    leg = {"kind": "EQUITY", "instrument": "NSE:SBIN", "side": "BUY", "lots": 1}
    algo = {"name": "a", "product": "MIS", "accounts": linked, "mappings": [mapped] * 50, "legs": [leg] * 10}
    told = await asha.client.post("/api/v2/algos/", content=json.dumps(algo, indent=8), headers=JSON)
    assert (told.status_code, told.json()["code"]) == (404, "not_found"), told.text


async def test_the_id_of_zeros_is_no_strategy(platform: Platform) -> None:
    """Seen: many languages write an id that is not set like that. Risk keeps what is of no strategy under it, so the
    order was parked, and with it all that followed of its account: its fills, its exits, its panic.
    """
    asha = await platform.person("asha")
    where = f'"account_id": "{asha.account_id}", "instrument": "NSE:SBIN", "strategy_id": "{UUID(int=0)}"'
    for path, more in (
        ("trading/orders/place", ', "side": "BUY", "product": "MIS", "quantity": 1'),
        ("trading/orders/cancel-all", ""),
        ("trading/positions/close", ""),
    ):
        assert "leave it out" in await refusal(platform, asha, "POST", path, f"{{{where}{more}}}")


async def test_what_guards_money_names_no_field_twice_either(platform: Platform) -> None:
    asha = await platform.person("asha")
    for path, body in (
        ("risk/limits/", '{"level": "USER", "max_daily_loss": 1, "max_daily_loss": 100000}'),
        ("trading/positions/close-all", '{"account_id": "{account}", "account_id": null}'),
        ("trading/orders/cancel-all", '{"instrument": "NSE:SBIN", "instrument": null}'),
        ("algos/", (ALGO % '"NIFTY"').replace('"lots": 1', '"lots": 1, "lots": 100')),
        ("market/corporate-actions/", '[{"old": 1, "old": 2}]'),
    ):
        assert "twice" in await refusal(platform, asha, "POST", path, body)
    deep = f'{{"level": "USER", "stop_loss": {"[" * 1_000}{"]" * 1_000}, "stop_loss": 1}}'
    assert "deep" in await refusal(platform, asha, "POST", "risk/limits/", deep)


@pytest.mark.parametrize("other", ['"exchange": "BSE"', '"symbol": "INFY"', '"symbol": "INFY", "exchange": "NSE"'])
async def test_an_order_that_names_two_instruments_is_refused(platform: Platform, other: str) -> None:
    """One of them would be traded, and who asked did not say which."""
    asha = await platform.person("asha")
    order = f'"account_id": "{asha.account_id}", "side": "BUY", "product": "MIS", "quantity": 1'
    body = f'{{{order}, "instrument": "NSE:SBIN", {other}}}'
    reason = await refusal(platform, asha, "POST", "trading/orders/place", body)
    assert "NSE:SBIN" in reason


@pytest.mark.parametrize("book", ["orders", "tradebook"])
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_beyond_the_calendar_is_refused(platform: Platform, book: str, time: str) -> None:
    asha = await platform.person("asha")
    for name in ("from", "to"):
        assert "time" in await refusal(platform, asha, "GET", f"trading/{book}/?{name}={time}", "")
    answer = await asha.client.get(f"/api/v2/trading/{book}/?from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z")
    assert answer.json() == {"data": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("method", "asked", "named"),
    [
        ("GET", "trading/orders/?statuses=FILLED", "statuses"),
        ("GET", "trading/positions/?account_id={account}", "account_id"),
        ("GET", "trading/tradebook/{account}?from=2026-11-20", "from"),
        ("GET", "trading/orders/?account_id={account}&account_id={account}", "account_id"),
        ("POST", "trading/orders/place?dry_run=true", "dry_run"),
        ("POST", "trading/positions/close-all?account_id={account}", "account_id"),
    ],
)
async def test_a_parameter_that_a_route_does_not_know_is_refused(
    platform: Platform, method: str, asked: str, named: str
) -> None:
    """Passed over, all orders came as if they were the filled ones, and what was to be a trial was an order."""
    asha = await platform.person("asha")
    order = f'"account_id": "{asha.account_id}", "side": "BUY", "product": "MIS", "quantity": 1'
    body = f'{{{order}, "instrument": "NSE:SBIN"}}' if "place" in asked else ""
    assert named in await refusal(platform, asha, method, asked, body)


async def test_the_number_that_a_monitor_adds_against_caches_is_passed_over(platform: Platform) -> None:
    """It was refused as an unknown parameter, so that the platform counted as broken."""
    asha = await platform.person("asha")
    for asked in ("system/version?_=1795431600000", "trading/orders/?open=true&_=1795431600000"):
        assert (await asha.client.get(f"/api/v2/{asked}")).status_code == 200, asked


@pytest.mark.parametrize(
    "asked", ["exchange=NFO", "instrument=NSE:SBIN&exchange=BSE", "instrument=NSE:SBIN&symbol=INFY"]
)
@pytest.mark.parametrize("book", ["orders", "tradebook"])
async def test_a_book_is_narrowed_by_all_that_is_named_or_refused(platform: Platform, book: str, asked: str) -> None:
    asha = await platform.person("asha")
    await refusal(platform, asha, "GET", f"trading/{book}/?{asked}", "")


@pytest.mark.parametrize("body", ["{}", "null", '"x"', "1", "[1]", "[[]]", "[{}]", "[", ""])
async def test_corporate_actions_that_are_no_list_of_them_are_refused(platform: Platform, body: str) -> None:
    asha = await platform.person("asha")
    assert "not understood" in await refusal(platform, asha, "POST", "market/corporate-actions/", body)


async def test_a_table_of_corporate_actions_with_an_endless_cell_is_refused(platform: Platform) -> None:
    asha = await platform.person("asha")
    content = "instrument,kind,ex_date,old,new,amount\n" + "x" * 200_000
    answer = await asha.client.post(
        "/api/v2/market/corporate-actions/", content=content, headers={"Content-Type": "text/csv"}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM_JSON)
    assert "not understood" in answer.json()["detail"]


async def test_what_is_longer_than_can_be_passed_on_is_refused_and_keeps_nobody_waiting(platform: Platform) -> None:
    """Seen: Kafka was taken to be away for it, and the next orders of others were refused."""
    asha = await platform.person("asha")
    body = (ALGO % ('"' + "A" * 1_000_000 + '"')).replace("{account}", str(asha.account_id))
    for headers in (JSON, {**JSON, "Idempotency-Key": "long"}, {**JSON, "Idempotency-Key": "long"}):
        answer = await asha.client.post("/api/v2/algos/", content=body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM_JSON), answer.text
        assert answer.json()["code"] == "too_large"
    assert platform.asked == []
