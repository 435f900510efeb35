"""What the demo prints."""

import io

from tools.demo.narrator import WIDTH, Narrator, milliseconds, rupees


def test_money_is_written_as_people_write_it() -> None:
    assert rupees("1234.5") == "₹1,234.50"
    assert rupees(-65) == "−₹65.00"


def test_a_long_latency_is_told_in_seconds() -> None:
    assert milliseconds(0.0374) == "37 ms"
    assert milliseconds(12.34) == "12.3 s"


def test_a_step_stays_in_its_columns_however_much_it_says() -> None:
    out = io.StringIO()
    Narrator(out).step("OrderCleared", "by risk, on its way: " + "BUY 65 " * 20, 0.02)
    lines = out.getvalue().splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].endswith("20 ms")
