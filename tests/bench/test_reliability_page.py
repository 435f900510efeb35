"""What the page of the failure tests says of a run."""

from tests.chaos.report import MOST_SECONDS, is_in_time, render, shortfalls

RESULT = {
    "number": 1,
    "title": "kill -9 of each service",
    "faults": 98,
    "orders": 12_000,
    "orders_per_s": 104.6,
    "lost": 0,
    "doubled": 0,
    "recoveries": [0.5],
    "wrong": [],
    "statuses": {"201": 12_000},
    "alerts": 400,
    "seconds": 120.0,
    "seed": 7,
}


def test_the_page_tells_the_orders_a_second_of_each_scenario_that_the_flow_loaded() -> None:
    own_load = RESULT | {"number": 10, "title": "overload", "orders_per_s": None}
    page = render([RESULT, own_load], {}, None)
    assert "| 1 | kill -9 of each service | 98 | 12000 | 105 | 0 | 0 | 0.50 s | 0.50 s | yes |" in page
    assert "| 10 | overload | 98 | 12000 |  | 0 | 0 | 0.50 s | 0.50 s | yes |" in page
    assert "All of it took" not in page, "some scenarios only"


def test_a_run_that_took_too_long_failed_and_the_page_says_how_long_any_took() -> None:
    assert "All of it took 2000 s" in render([RESULT], {}, 2000.4)
    assert [is_in_time(took) for took in (None, MOST_SECONDS, MOST_SECONDS + 1)] == [True, True, False]


def test_a_whole_run_that_saw_too_little_failed_and_says_what_it_lacks() -> None:
    """Scenarios that are left out, or made shorter, leave a page on which all passed."""
    crashes = RESULT | {"number": 6, "orders": 0, "faults": 52}
    assert shortfalls([RESULT, crashes]) == [
        "12000 orders, fewer than 20000",
        "98 kills of services, fewer than 100",
    ]
    more = RESULT | {"title": "kill -9 for good, another instance takes over", "orders": 8_000, "faults": 2}
    assert shortfalls([RESULT, more, crashes]) == []
    assert shortfalls([RESULT, more]) == ["100 faults, fewer than 150"]
