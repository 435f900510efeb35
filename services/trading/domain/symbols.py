"""What an instrument's symbol tells of its contract: trading holds no contracts."""

import re
from datetime import date

from libs.common.contracts.ids import InstrumentId

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_EXPIRY = re.compile(r"(\d{2})([A-Z]{3})(\d{2})(?:FUT|[\d.]+(?:CE|PE))$")


def expires_on(instrument: InstrumentId, day: date) -> bool:
    """Symbols write the day as `24NOV26`."""
    return f"{day:%d}{MONTHS[day.month - 1]}{day:%y}" in instrument


def has_expired(instrument: InstrumentId, today: date) -> bool:
    """On a day before today."""
    found = _EXPIRY.search(instrument)
    if found is None or found[2] not in MONTHS:
        return False
    return (int(found[3]) + 2000, MONTHS.index(found[2]) + 1, int(found[1])) < (today.year, today.month, today.day)
