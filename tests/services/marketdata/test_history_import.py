"""A recorded day put into the history."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from libs.common.contracts.ids import InstrumentId
from tests.services.marketdata.samples import INDIAN


async def test_a_recorded_day_that_was_imported_is_served_as_it_was_recorded(
    client: httpx.AsyncClient, name: InstrumentId, shared_data: Path
) -> None:
    """Labels are the ends of the minutes; the print at 09:08 and those after the close are left out and counted."""
    content = (shared_data / "candles-1min/NIFTY-2021-JUN.csv").read_bytes()
    done = await client.post(f"/history/{name}/import", params={"label": "end"}, content=content)
    assert done.status_code == 200, done.text
    assert done.json()["kept"] == 8250
    day = {"start": f"2021-06-10T00:00:00{INDIAN}", "end": f"2021-06-11T00:00:00{INDIAN}", "limit": "1000"}
    served: list[dict[str, Any]] = []
    for _ in range(100):
        served = (await client.get(f"/history/{name}", params=day)).json()["candles"]
        if len(served) == 375:
            break
        await asyncio.sleep(0.1)
    recorded = [
        tuple(map(float, line.split(",")[3:7]))
        for line in content.decode().splitlines()
        if ",20210610," in line and "09:16" <= line.split(",")[2] <= "15:30"
    ]
    assert [(row["open"], row["high"], row["low"], row["close"]) for row in served] == recorded
    assert served[0]["start"] == "2021-06-10T03:45:00.000000Z"
    report = (await client.get(f"/history/{name}/quality", params={"day": "2021-06-10"})).json()
    assert report["candles"] == 375


async def test_an_import_must_say_its_label_and_have_a_known_shape(
    client: httpx.AsyncClient, name: InstrumentId
) -> None:
    assert (await client.post(f"/history/{name}/import", content=b"x")).status_code == 422
    answer = await client.post(f"/history/{name}/import", params={"label": "start"}, content=b"a,b\n1,2\n")
    assert (answer.status_code, answer.json()["code"]) == (422, "file_unreadable")
