"""What splits and bonuses make of an account's positions."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from libs.common.contracts.base import Message
from libs.common.contracts.enums import Broker
from libs.common.service import Context
from libs.common.telemetry import log
from services.trading.domain import accounts, positions
from services.trading.domain import corporate_actions as rules
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.corporate_actions import Adjusted
from services.trading.domain.money import ZERO
from services.trading.domain.positions import Book, NetKey
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore


async def book(
    account: TradingAccount, before: date, ctx: Context[TradingStore, TradingMemory]
) -> tuple[Decimal, Sequence[Message]]:
    """Book those that are due on what was carried, each once; the margin that moves, and what is to be said. At a
    broker nothing is booked: the owner is told of it.

    `before` is the day that the account's figures were of until now: all that it holds was carried into later ones.
    """
    freed, said = ZERO, list[Message]()
    if account.broker is not Broker.PAPER:
        return freed, await _unadjusted(account, before, ctx)
    held = await _held(account, ctx)
    if not held:
        return freed, said
    today = accounts.trading_day(ctx.now)
    for product, action in await ctx.store.corporate_actions.due(account.account_id, held.keys(), today):
        key = account.account_id, action.instrument, product
        net = await ctx.store.positions.net_of(held[key][0]) if held[key] else None
        if net is None or (action.ex_date <= before and not rules.is_untouched(net, action)):
            continue
        adjusted = rules.adjust(net, held[key], action)
        await ctx.store.corporate_actions.book(key, action)
        freed += adjusted.net.margin - net.margin
        said += _save(adjusted, ctx)
        held[key] = [book for book in adjusted.books if book.holding.quantity]
    return freed, said


async def _held(account: TradingAccount, ctx: Context[TradingStore, TradingMemory]) -> dict[NetKey, list[Book]]:
    """The open books of each position."""
    found: defaultdict[NetKey, list[Book]] = defaultdict(list)
    for each in await ctx.store.positions.live_books(account.account_id):
        if each.holding.quantity:
            found[positions.net_key(each)].append(each)
    return found


async def _unadjusted(
    account: TradingAccount, before: date, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """Told as the day begins, and so once."""
    nets = await ctx.store.positions.live_nets(account.account_id)
    held = {positions.net_key(net): net for net in nets if net.holding.quantity}
    if not held:
        return []
    found = await ctx.store.corporate_actions.due(account.account_id, held.keys(), accounts.trading_day(ctx.now))
    return [
        rules.unadjusted(held[account.account_id, action.instrument, product], action)
        for product, action in found
        if before < action.ex_date
    ]


def _save(adjusted: Adjusted, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    said: list[Message] = [adjusted.said]
    net = adjusted.net
    for each in adjusted.books:
        net = replace(net, version=net.version + 1)
        ctx.store.positions.save_book(each)
        said.append(positions.changed(net, each, 0))
    ctx.store.positions.save_net(net)
    log.info("position_adjusted", account_id=str(net.account_id), instrument=net.instrument, kind=adjusted.said.kind)
    return said
