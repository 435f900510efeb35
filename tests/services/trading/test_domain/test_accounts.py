"""An account's funds, and its day."""

from datetime import timedelta
from decimal import Decimal

from libs.common.testing import NOON
from services.trading.domain import accounts
from tests.services.trading.making import account_save


def test_yesterdays_profit_is_in_todays_opening_balance() -> None:
    account = accounts.save(None, account_save(capital=1000), NOON)
    assert isinstance(account, accounts.TradingAccount)
    account = accounts.move_funds(account, margin=Decimal(100), realised=Decimal(50))
    assert account.funds.available == 950
    tomorrow = accounts.begin_day(account, account.day + timedelta(days=1))
    assert (tomorrow.funds.opening_balance, tomorrow.funds.realised_pnl) == (Decimal(1050), Decimal(0))
    assert tomorrow.funds.available == 950


def test_the_trading_day_begins_at_midnight_in_india() -> None:
    evening = NOON.replace(hour=18, minute=29)
    assert accounts.trading_day(evening + timedelta(minutes=1)) == accounts.trading_day(evening) + timedelta(days=1)
