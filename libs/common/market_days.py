"""Holidays and sessions that an operator names, as exchanges announce them: MARKET_DAYS, without a new release.

JSON, in the field's own words; hours are Indian time and say no zone, a session without hours has the ordinary ones,
and what names no exchange means all:

    {"known_until": "2027-12-31",
     "holidays": [{"day": "2027-03-22", "name": "Holi"}, …],
     "sessions": [{"day": "2027-10-29", "name": "Muhurat", "hours": [["18:00", "19:00"]]},
                  {"day": "2027-03-22", "name": "Holi, evening", "exchanges": ["MCX"], "hours": [["17:00", "23:30"]]}]}
"""

from collections import Counter
from dataclasses import dataclass
from datetime import date
from itertools import chain, pairwise

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.contracts.enums import Exchange
from libs.common.special_sessions import EVERY, SpecialSession


@dataclass(frozen=True, slots=True)
class Holiday:
    day: date
    name: str
    exchanges: frozenset[Exchange] = EVERY


class MarketDays(BaseModel):
    """They count before the tables of a release. `known_until` says to which day `holidays` are complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    known_until: date | None = None
    holidays: tuple[Holiday, ...] = ()
    sessions: tuple[SpecialSession, ...] = ()

    @field_validator("sessions")
    @classmethod
    def _hours_follow_each_other(cls, sessions: tuple[SpecialSession, ...]) -> tuple[SpecialSession, ...]:
        named = Counter((special.day, exchange) for special in sessions for exchange in special.exchanges)
        for (day, exchange), times in named.items():
            if times > 1:
                raise ValueError(f"{exchange} has {times} sessions on {day}: put the hours of all into one")
        for special in sessions:
            moments = list(chain.from_iterable(special.hours))
            if any(moment.tzinfo or moment.second for moment in moments):
                raise ValueError(f"the hours of {special.day} ({special.name}) are Indian, and written as 18:00")
            if any(after <= before for before, after in pairwise(moments)):
                raise ValueError(f"the hours of {special.day} ({special.name}) do not follow each other")
        return sessions

    def session(self, exchange: Exchange, day: date) -> SpecialSession | None:
        return next((each for each in self.sessions if each.day == day and exchange in each.exchanges), None)

    def is_holiday(self, exchange: Exchange, day: date) -> bool:
        return any(each.day == day and exchange in each.exchanges for each in self.holidays)


class MarketDaysSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    market_days: MarketDays = MarketDays()
    """Holidays and special sessions that this release does not know yet: docs/operations.md, A new year."""
