"""What people ask of the contract master, and services of the feed."""

from collections.abc import Sequence
from typing import TypeAlias

from libs.common.contracts.base import GIVEN_UP, Message, RequestRefused
from libs.common.contracts.market import PricesRequested
from libs.common.contracts.masters import (
    ContractsDownloadRefused,
    ContractsDownloadRequested,
    CorporateActionsImported,
    CorporateActionsImportRequested,
    CustomSymbolDeleted,
    CustomSymbolDeleteRequested,
    CustomSymbolSaved,
    CustomSymbolSaveRequested,
    DownloadTrigger,
)
from libs.common.service import Context
from libs.common.settings import load
from services.marketdata.domain import custom
from services.marketdata.domain.corporate_actions import fault_of_actions, fault_of_withdrawals, key_of
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import MarketDataSettings
from services.marketdata.store import ContractStore

Ctx: TypeAlias = Context[ContractStore, MarketMemory]
Changes: TypeAlias = CustomSymbolSaveRequested | CustomSymbolDeleteRequested | CorporateActionsImportRequested


async def note_need(request: PricesRequested, ctx: Ctx) -> Sequence[Message]:
    """It is said again every few seconds, so memory is enough."""
    ctx.memory.needs.note(request, ctx.now)
    return []


async def request_download(request: ContractsDownloadRequested, ctx: Ctx) -> Sequence[Message]:
    """Note it; the download itself runs outside of any transaction."""
    if request.source in load(MarketDataSettings).masters:
        await ctx.store.downloads.want(request.source, ctx.now)
        return []
    return [
        ContractsDownloadRefused(
            source=request.source,
            day=ctx.memory.calendar.trading_day(ctx.now),
            trigger=DownloadTrigger.REQUEST,
            reason=f"MARKETDATA_MASTERS names no address or file for {request.source.value}",
        )
    ]


async def save_custom_symbol(request: CustomSymbolSaveRequested, ctx: Ctx) -> Sequence[Message]:
    wanted = request.custom_symbol
    symbols = ctx.store.custom_symbols
    found = await symbols.find(request.custom_symbol_id)
    version = found[1] if found else 0
    if found and found[0].user_id != request.user_id:
        return [_refused(request, "not_found", f"you have no custom symbol {request.custom_symbol_id}")]
    if version != request.expected_version:
        return [_refused(request, "conflict", f"version {request.expected_version} was changed meanwhile: {version}")]
    if found and found[0].symbol != wanted.symbol:
        return [_refused(request, "invalid", f"a symbol keeps its name ({found[0].symbol}): make another one")]
    if await symbols.is_taken(wanted.symbol, request.custom_symbol_id):
        return [_refused(request, "conflict", f"there is a custom symbol {wanted.symbol} already")]
    listed = await symbols.listed([leg.instrument for leg in wanted.legs])
    if (fault := custom.fault_of_symbol(wanted, listed.__contains__)) is not None:
        return [_refused(request, "invalid", fault)]
    await symbols.save(wanted, version + 1, ctx.now)
    return [
        custom.listed(wanted),
        CustomSymbolSaved(
            custom_symbol_id=request.custom_symbol_id,
            user_id=request.user_id,
            custom_symbol=wanted,
            version=version + 1,
        ),
    ]


async def delete_custom_symbol(request: CustomSymbolDeleteRequested, ctx: Ctx) -> Sequence[Message]:
    found = await ctx.store.custom_symbols.find(request.custom_symbol_id)
    if found is None or found[0].user_id != request.user_id:
        return [_refused(request, "not_found", f"you have no custom symbol {request.custom_symbol_id}")]
    await ctx.store.custom_symbols.delete(found[0], ctx.now)
    return [
        custom.listed(found[0]).model_copy(update={"delisted": True}),
        CustomSymbolDeleted(custom_symbol_id=request.custom_symbol_id, user_id=request.user_id),
    ]


async def import_corporate_actions(request: CorporateActionsImportRequested, ctx: Ctx) -> Sequence[Message]:
    """All of them or none."""
    withdrawn = [key_of(terms) for terms in request.actions if terms.withdrawn]
    kept = await ctx.store.corporate_actions.kept(withdrawn)
    fault = fault_of_actions(request.actions) or fault_of_withdrawals(request.actions, kept)
    if fault is not None:
        return [_refused(request, "invalid", fault)]
    await ctx.store.corporate_actions.save(request.actions, ctx.now)
    return [CorporateActionsImported(import_id=request.import_id, user_id=request.user_id, actions=request.actions)]


async def give_up(request: Changes, ctx: Ctx) -> Sequence[Message]:
    """A person discarded it."""
    return [_refused(request, "given_up", GIVEN_UP)]


def _refused(
    request: Changes,
    code: str,
    reason: str,
) -> RequestRefused:
    subject = request.import_id if isinstance(request, CorporateActionsImportRequested) else request.custom_symbol_id
    return RequestRefused(entity_id=str(subject), request=type(request).__name__, code=code, reason=reason)
