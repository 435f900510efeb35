"""Expired contracts: what they were worth is noted when it is told, and what is held of them settled soon after.
And what a broker closed past us, booked as it tells.

A timer settles, not the message: so it does not matter what comes first, the price or the last fill, nor how many
accounts hold the contract, and a stack that was down at the close settles when it is up again.
"""

from collections.abc import Sequence
from dataclasses import replace

from libs.common import ids
from libs.common.contracts.base import Message
from libs.common.contracts.brokers import PositionClosedAtBroker
from libs.common.contracts.ids import FillId, SettlementId
from libs.common.contracts.masters import ContractSettled, ContractUnsettled
from libs.common.service import Context
from libs.common.telemetry import log
from services.trading.domain import accounts, positions
from services.trading.domain import settlements as rules
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.money import ZERO
from services.trading.domain.positions import Book
from services.trading.domain.settlements import Settlement
from services.trading.handlers import funds
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore

ACCOUNTS_PER_TICK = 100


async def note(told: ContractSettled, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    ctx.store.settlements.note(
        Settlement(
            instrument=told.instrument,
            settlement_id=SettlementId(ctx.cause.id),
            expiry=told.expiry,
            price=told.price,
            spot=told.spot,
            spot_price=told.spot_price,
        )
    )
    return []


async def tell(lacking: ContractUnsettled, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Who holds it cannot close it, and should know that nobody will for now."""
    return [rules.unsettled(lacking, net) for net in ctx.store.positions.held(lacking.instrument)]


async def settle(ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Timer: accounts that hold something of a contract whose settlement price is known."""
    await ctx.store.enter()
    found = await ctx.store.accounts.settling(ACCOUNTS_PER_TICK)
    await ctx.store.load_portfolios({account.account_id for account in found})
    return [message for account in found for message in await _settle_account(account, ctx)]


async def _settle_account(account: TradingAccount, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    said: list[Message] = []
    if accounts.trading_day(ctx.now) > account.day:
        said += await funds.begin_day(account, ctx)
    books = rules.held(await ctx.store.positions.live_books(account.account_id))
    worth = await ctx.store.settlements.of({book.instrument for book in books})
    for book in books:
        if book.instrument in worth:
            said += await _settle_book(book, worth[book.instrument], ctx)
    return said


async def follow_broker(told: PositionClosedAtBroker, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """What has moved since it was seen is compared again."""
    said: list[Message] = []
    account = await ctx.store.accounts.owner(told.account_id)
    if accounts.trading_day(ctx.now) > account.day:
        said += await funds.begin_day(account, ctx)
    live = await ctx.store.positions.live_nets(told.account_id)
    seen = [net for net in live if (positions.net_key(net), net.version) == (positions.net_key(told), told.version)]
    if not seen:
        return said
    log.warning("closed_at_broker", account_id=str(told.account_id), instrument=told.instrument)
    worth = rules.at_broker(told, SettlementId(ctx.cause.id))
    for book in rules.held(await ctx.store.positions.live_books(told.account_id)):
        if positions.net_key(book) == positions.net_key(told):
            said += await _settle_book(book, worth, ctx)
    return said


async def _settle_book(
    book: Book, settlement: Settlement, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """The fill's id follows from the telling and from what it closes: booked again, it would be the same one."""
    account = await ctx.store.accounts.owner(book.account_id)
    net = await ctx.store.positions.net_of(book)
    name = (net.account_id, net.product, book.strategy_id, net.version)
    event = rules.settled(settlement, net, book, FillId(ids.derive(settlement.settlement_id, *name)), ctx.now)
    signed = event.side.sign * event.quantity
    moved = positions.move(net, signed, event.price, ZERO, net.order_id)
    booked = replace(book, holding=positions.trade(book.holding, signed, event.price))
    ctx.store.positions.save_net(moved)
    ctx.store.positions.save_book(booked)
    log.info("position_settled", account_id=str(net.account_id), instrument=net.instrument, price=str(event.price))
    return [
        event,
        positions.changed(moved, booked, 0),
        *funds.move(
            account,
            ctx,
            margin=moved.margin - net.margin,
            realised=moved.holding.realised_pnl - net.holding.realised_pnl,
        ),
    ]
