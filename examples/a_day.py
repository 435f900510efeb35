# %% [markdown]
# # A day of one instrument
# One-minute candles from QuestDB into Polars; the day's figures; a chart. Run it whole, or cell by cell in an editor
# that knows `# %%`.
#
#     python examples/a_day.py NSE:SBIN 2026-11-23 --out day.png
#
# In a notebook set `WORDS` below instead.

# %%
import argparse
import io
import os
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import matplotlib.pyplot as plt
import polars as pl
from matplotlib.dates import DateFormatter

IST = ZoneInfo("Asia/Kolkata")
QUESTDB = os.environ.get("QUESTDB_URL", "http://127.0.0.1:19000")

# A notebook shows the chart itself and has no command line; anything else draws to a file.
WORDS = ["NSE:SBIN", "2026-11-23"] if "ipykernel" in sys.modules else None
if WORDS is None:
    plt.switch_backend("Agg")

parser = argparse.ArgumentParser(description="The figures and the chart of one instrument's day.")
parser.add_argument("instrument", help="NSE:SBIN")
parser.add_argument("day", type=date.fromisoformat, help="an Indian date: 2026-11-23")
parser.add_argument("--out", type=Path, default=Path("day.png"))
asked = parser.parse_args(WORDS)

# %% [markdown]
# QuestDB keeps UTC; a trading day is Indian. `/exp` streams CSV, which Polars reads as fast as it comes.

# %%
midnight = datetime.combine(asked.day, datetime.min.time(), IST)
begin, end = (f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (midnight, midnight + timedelta(days=1)))
name = asked.instrument.replace("'", "''")
query = (
    "SELECT ts, open, high, low, close, volume FROM candles"  # noqa: S608 - quoted above; /exp takes no parameters
    f" WHERE instrument = '{name}' AND ts >= '{begin}' AND ts < '{end}' ORDER BY ts"
)
try:
    answer = httpx.get(f"{QUESTDB}/exp", params={"query": query}, timeout=30, trust_env=False)
except httpx.HTTPError as error:
    raise SystemExit(f"QuestDB at {QUESTDB} gives no candles: {error}; `make up` starts it") from error
if answer.is_error:
    raise SystemExit(f"QuestDB at {QUESTDB} gives no candles: {answer.text}")
day = pl.read_csv(io.BytesIO(answer.content), schema_overrides={"volume": pl.Int64}).with_columns(
    pl.col("ts").str.to_datetime(time_zone="UTC").dt.convert_time_zone("Asia/Kolkata")
)
if day.is_empty():
    raise SystemExit(f"QuestDB has no candles of {asked.instrument} on {asked.day}")

# %% [markdown]
# The day in figures.

# %%
typical = (pl.col("high") + pl.col("low") + pl.col("close")) / 3
traded = pl.col("volume").sum()
figures = day.select(
    minutes=pl.len(),
    open=pl.col("open").first(),
    high=pl.col("high").max(),
    low=pl.col("low").min(),
    close=pl.col("close").last(),
    volume=traded,
    vwap=pl.when(traded > 0).then((typical * pl.col("volume")).sum() / traded),  # indices do not trade
    volatility=pl.col("close").log().diff().std() * (pl.len().cast(pl.Float64).sqrt()),
)
with pl.Config(tbl_cols=-1, tbl_width_chars=120, tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True):
    print(figures)

# %% [markdown]
# Price above, volume below.

# %%
figure, (price, volume) = plt.subplots(2, sharex=True, figsize=(10, 6), height_ratios=(3, 1))
price.plot(day["ts"].to_list(), day["close"].to_list(), linewidth=1)
price.fill_between(day["ts"].to_list(), day["low"].to_list(), day["high"].to_list(), alpha=0.2)
price.set_title(f"{asked.instrument}, {asked.day}")
volume.bar(day["ts"].to_list(), day["volume"].to_list(), width=timedelta(minutes=1))
volume.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=IST))  # type: ignore[no-untyped-call]  # matplotlib gives it no types
figure.autofmt_xdate()
figure.savefig(asked.out, dpi=120)
print(f"drawn to {asked.out}")
