"""What an instrument's symbol tells of its contract: trading holds no contracts."""

from datetime import date

from libs.common.contracts.ids import InstrumentId

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def expires_on(instrument: InstrumentId, day: date) -> bool:
    """Symbols write the day as `24NOV26`."""
    return f"{day:%d}{MONTHS[day.month - 1]}{day:%y}" in instrument
