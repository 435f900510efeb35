"""Accounts and their funds."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from libs.common.contracts.accounts import (
    Account,
    AccountDeleted,
    AccountDeleteRequested,
    AccountSaved,
    AccountSaveRequested,
)
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import AccountId, UserId
from libs.common.contracts.portfolio import FundsChanged
from libs.common.trading_calendar import IST
from services.trading.domain.money import ZERO


@dataclass(frozen=True, slots=True)
class Funds:
    """`opening_balance` is the capital with everything realised before today; `realised_pnl` is today's."""

    opening_balance: Decimal
    realised_pnl: Decimal = ZERO
    used_margin: Decimal = ZERO
    version: int = 0

    @property
    def available(self) -> Decimal:
        return self.opening_balance + self.realised_pnl - self.used_margin


@dataclass(frozen=True, slots=True)
class TradingAccount:
    """What order management needs of an account. A deleted one is kept: a late fill finds its funds, and reopens it.

    `day` is the trading day (IST) that its figures are of; `square_offs` counts the unfinished ones.
    """

    account_id: AccountId
    user_id: UserId
    broker: Broker
    active: bool
    deleted: bool
    capital: Decimal
    version: int
    funds: Funds
    day: date
    square_offs: int = 0


def trading_day(now: datetime) -> date:
    return now.astimezone(IST).date()


def move_funds(account: TradingAccount, *, margin: Decimal = ZERO, realised: Decimal = ZERO) -> TradingAccount:
    """Block (or free) margin, take realised profit in; the account itself when nothing moves."""
    if not margin and not realised:
        return account
    funds = account.funds
    return replace(
        account,
        funds=replace(
            funds,
            used_margin=funds.used_margin + margin,
            realised_pnl=funds.realised_pnl + realised,
            version=funds.version + 1,
        ),
    )


def begin_day(account: TradingAccount, day: date) -> TradingAccount:
    """Yesterday's profit is today's opening balance."""
    funds = account.funds
    if not funds.realised_pnl:
        return replace(account, day=day)
    opened = replace(
        funds,
        opening_balance=funds.opening_balance + funds.realised_pnl,
        realised_pnl=ZERO,
        version=funds.version + 1,
    )
    return replace(account, funds=opened, day=day)


def save(
    account: TradingAccount | None, request: AccountSaveRequested, now: datetime
) -> TradingAccount | RequestRefused:
    """Create (expected version 0) or replace. More capital or less moves the balance by the difference."""
    wanted = request.account
    if wanted.account_id != request.account_id or wanted.user_id != request.user_id:
        return refuse(request, "invalid", "the account must carry the ids of its request")
    if account is None:
        if request.expected_version:
            return refuse(request, "not_found", "there is no such account")
        funds = Funds(wanted.opening_balance, version=1)
        return TradingAccount(
            account_id=request.account_id,
            user_id=request.user_id,
            broker=wanted.broker,
            active=wanted.active,
            deleted=False,
            capital=wanted.opening_balance,
            version=1,
            funds=funds,
            day=trading_day(now),
        )
    if account.deleted or account.user_id != request.user_id:
        return refuse(request, "not_found", "there is no such account")
    if account.version != request.expected_version:
        return refuse(
            request, "conflict", f"version {request.expected_version} was expected, {account.version} is stored"
        )
    if account.broker is not wanted.broker:
        reason = f"the account is at {account.broker}, and so are its orders: make another account for {wanted.broker}"
        return refuse(request, "conflict", reason)
    return replace(
        account,
        active=wanted.active,
        capital=wanted.opening_balance,
        version=account.version + 1,
        funds=_with_capital(account, wanted.opening_balance),
    )


def _with_capital(account: TradingAccount, capital: Decimal) -> Funds:
    funds = account.funds
    if capital == account.capital:
        return funds
    opening = funds.opening_balance + capital - account.capital
    return replace(funds, opening_balance=opening, version=funds.version + 1)


def delete(account: TradingAccount | None, request: AccountDeleteRequested, in_use: bool) -> RequestRefused | None:
    """Why not, or None."""
    if account is None or account.deleted or account.user_id != request.user_id:
        return refuse(request, "not_found", "there is no such account")
    if in_use:
        return refuse(request, "conflict", "the account has open orders or positions; close them first")
    return None


def refuse(request: AccountSaveRequested | AccountDeleteRequested, code: str, reason: str) -> RequestRefused:
    return RequestRefused(entity_id=str(request.account_id), request=type(request).__name__, code=code, reason=reason)


def reopen(account: TradingAccount) -> TradingAccount:
    """It was deleted for having nothing open, and has something after all. It stays deactivated: what it holds can be
    seen and closed, and nothing else is traded.
    """
    return replace(account, deleted=False, version=account.version + 1)


def saved(account: TradingAccount, described: Account) -> AccountSaved:
    return AccountSaved(
        account_id=account.account_id, user_id=account.user_id, account=described, version=account.version
    )


def deleted(account: TradingAccount) -> AccountDeleted:
    return AccountDeleted(account_id=account.account_id, user_id=account.user_id)


def funds_changed(account: TradingAccount) -> FundsChanged:
    funds = account.funds
    return FundsChanged(
        account_id=account.account_id,
        user_id=account.user_id,
        opening_balance=funds.opening_balance,
        realised_pnl=funds.realised_pnl,
        used_margin=funds.used_margin,
        available=funds.available,
        version=funds.version,
    )
