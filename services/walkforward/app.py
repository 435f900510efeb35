"""The whole of walkforward at a glance: what it reads, what it writes."""

from libs.common.contracts import topics
from libs.common.contracts.market import InstrumentListed, Tick
from libs.common.contracts.venue import VenueCancelRequested, VenueModifyRequested, VenueOrderRequested
from libs.common.service import Service, Start, every, on, stream
from services.walkforward import handlers, streams, timers
from services.walkforward.memory import WalkforwardMemory
from services.walkforward.store import WalkforwardStore

app = Service(
    name="walkforward",
    store=WalkforwardStore,
    memory=WalkforwardMemory,
    consumes=[
        on(topics.VENUE_REQUESTS, VenueOrderRequested, handlers.take_order, given_up=handlers.give_up_order),
        on(topics.VENUE_REQUESTS, VenueModifyRequested, handlers.modify_order, given_up=handlers.give_up_change),
        on(topics.VENUE_REQUESTS, VenueCancelRequested, handlers.cancel_order, given_up=handlers.give_up_change),
    ],
    streams=[
        stream(topics.CONTRACTS, InstrumentListed, streams.learn_contracts, Start.BEGINNING),
        stream(topics.TICKS, Tick, streams.see_ticks, Start.RECENT),
    ],
    timers=[
        every(1, timers.expire_orders),
        every(5, timers.learn_open_orders),
        every(5, timers.request_prices),
        every(60, timers.forget_finished_orders),
    ],
    produces=[topics.EXECUTIONS, topics.PRICE_REQUESTS],
    background=[streams.match_resting],
    committed=handlers.watch_committed,
)
