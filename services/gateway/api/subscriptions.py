"""What a stream's client may subscribe to, answered item by item."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from libs.common.contracts.ids import InstrumentId
from services.gateway.api.edge import Edge
from services.gateway.domain.chains import chain_name
from services.gateway.domain.symbols import instrument_of
from services.gateway.memory.client import Client
from services.gateway.memory.prices import ChainTopic, Mode, Topic, book
from services.gateway.memory.quotes import QuoteView
from services.gateway.store import instruments
from services.gateway.store.changes import CHANNEL_NAMES, Channel

Wish: TypeAlias = dict[str, object]
MOST_NAMES = 3_000
MOST_CHAINS = 50
MOST_STRIKES = 500
_LTP = ("instrument", "at", "source", "ltp", "stale")
_BOOK = ("bid", "ask", "bid_quantity", "ask_quantity", "open", "high", "low", "previous_close")
WHOLE_QUOTE = (*_LTP, *_BOOK, "volume", "oi")


async def subscribe(edge: Edge, client: Client, wish: Wish) -> None:
    """Acknowledge item by item, then send what there is: snapshots first, whatever changes after them."""
    mode = wish.get("mode")
    channels = {name: "ok" if name in CHANNEL_NAMES else "unknown channel" for name in names(wish, "channels")}
    wanted = names(wish, "quotes")
    quotes = await _check_quotes(edge, wanted, Mode(str(mode)) if mode else None, client)
    chains = _check_chains(edge, client, wish.get("chains"))
    ack: dict[str, object] = {"type": "ack", "action": "subscribe", "channels": channels, "quotes": quotes}
    if chains:
        ack["chains"] = {str(name): fate for name, (fate, _, _) in chains.items()}
    client.say(ack)
    since = wish.get("since")
    for name, fate in channels.items():
        if fate == "ok":
            number = since.get(name) if isinstance(since, dict) else None
            edge.memory.hub.watch(client, Channel(name), number if isinstance(number, int) else None)
    found = [instrument for name, fate in quotes.items() if fate == "ok" and (instrument := instrument_of(name))]
    if mode is None:
        edge.memory.hub.watch_quotes(client, found)
        edge.memory.watching.changed()
    else:
        _stream(edge, client, Mode(str(mode)), found)
    _stream_chains(edge, client, [(name, each_side) for fate, name, each_side in chains.values() if fate == "ok"])


def unsubscribe(edge: Edge, client: Client, wish: Wish) -> None:
    channels = names(wish, "channels")
    for name in channels:
        if name in CHANNEL_NAMES:
            client.watches.pop(Channel(name), None)
    quotes = names(wish, "quotes")
    found = [instrument for name in quotes if (instrument := instrument_of(name))]
    hub, mode = edge.memory.hub, wish.get("mode")
    modes = list(Mode) if mode is None else [Mode(str(mode))]
    if mode is None:
        hub.unwatch_quotes(client, found)
    gone: list[Topic] = [t for n in found for m in modes if (t := hub.prices.topics.get((m, n)))]
    said: dict[str, object] = {"channels": dict.fromkeys(channels, "ok"), "quotes": dict.fromkeys(quotes, "ok")}
    chains = [each for each in map(_chain_wish, _objects(wish.get("chains"))) if each]
    if chains:
        named = {name for name, _ in chains}
        gone += [topic for topic in _chains_of(client) if topic.instrument in named]
        said["chains"] = dict.fromkeys(named, "ok")
    hub.unwatch_topics(client, gone)
    client.say({"type": "ack", "action": "unsubscribe", **said})


def fault_of(wish: Wish) -> str | None:
    """Why a wish cannot be answered item by item."""
    for field, most in (("channels", MOST_NAMES), ("quotes", MOST_NAMES), ("chains", MOST_CHAINS)):
        found = wish.get(field)
        if found is not None and not isinstance(found, list):
            return f"{field} is a list"
        if found and len(found) > most:
            return f"{field}: at most {most} in one frame, not {len(found)}"
    mode = wish.get("mode")
    return f"mode {mode!r} is not one of {', '.join(Mode)}" if mode is not None and mode not in tuple(Mode) else None


def names(wish: Wish, field: str) -> list[str]:
    """As they were sent; what is no text is none of ours either, and is answered so."""
    found = wish.get(field)
    return [str(name) for name in found] if isinstance(found, list) else []


def _room(edge: Edge, client: Client) -> tuple[int, str]:
    """How many quotes more this client may be shown, and what is said to one more."""
    most, of_all = edge.settings.stream_quotes, edge.settings.stream_screens
    shown = sum(len(each.instruments) for each in edge.memory.hub.clients_of(client.user_id))
    here, everywhere = most - len(client.instruments), of_all - shown
    if here <= everywhere:
        return here, f"no more than {most} quotes"
    return everywhere, f"no more than {of_all} quotes of one user"


def _room_of_topics(edge: Edge, client: Client) -> tuple[int, str]:
    """The same of what is streamed by itself, over all connections of this user."""
    most = edge.settings.stream_topics
    watched = sum(len(each.topics) for each in edge.memory.hub.clients_of(client.user_id))
    return most - watched, f"no more than {most} of one user"


async def _check_quotes(edge: Edge, wanted: Sequence[str], mode: Mode | None, client: Client) -> dict[str, str]:
    read = {name: instrument_of(name) for name in wanted}
    known: set[InstrumentId] = set()
    if asked := [each for each in read.values() if each]:
        async with edge.memory.turns.turn_of_stream(client.identity):
            known = await instruments.known(edge.runtime.pool, asked)
    # Not before: meanwhile another connection of his may have taken the room.
    room, excess = _room(edge, client) if mode is None else _room_of_topics(edge, client)
    has = client.instruments if mode is None else {t.instrument for t in client.topics if t.mode is mode}
    fates: dict[str, str] = {}
    for name, instrument in read.items():
        heard = instrument is not None and edge.memory.quotes.newest(instrument) is not None
        if instrument is None or not (heard or instrument in known):
            fates[name] = "unknown instrument"
        elif instrument not in has and room <= 0:
            fates[name] = excess
        else:
            fates[name] = "ok"
            room -= instrument not in has
    return fates


def _stream(edge: Edge, client: Client, mode: Mode, found: Sequence[str]) -> None:
    if not found:
        return
    prices, now = edge.memory.hub.prices, edge.runtime.clock.now()
    client.say(_books(edge, found, now) if mode is Mode.DEPTH else _snapshot(edge.memory.quotes, mode, found, now))
    edge.memory.hub.watch_topics(client, [prices.topic(mode, instrument) for instrument in found])
    edge.memory.watching.changed()


def _snapshot(quotes: QuoteView, mode: Mode, found: Sequence[str], now: datetime) -> dict[str, object]:
    fields = WHOLE_QUOTE if mode is Mode.QUOTE else _LTP
    known = {name: quote for name in found if (quote := quotes.show(name, now))}
    data = [{field: quote[field] for field in fields} for quote in known.values()]
    waiting = sorted(set(found) - set(known))
    return {"type": "snapshot", "channel": "quotes", "mode": mode, "data": data, "waiting": waiting}


def _books(edge: Edge, found: Sequence[str], now: datetime) -> dict[str, object]:
    """Books that are not known here yet come as the first event, whole like every other."""
    known = {name: depth for name in found if (depth := edge.memory.hub.prices.depth(name))}
    quotes = edge.memory.quotes
    data = [{**book(depth), "stale": quotes.is_old(name, depth.at, now)} for name, depth in known.items()]
    waiting = sorted(set(found) - set(known))
    return {"type": "snapshot", "channel": "depth", "mode": Mode.DEPTH, "data": data, "waiting": waiting}


def _check_chains(edge: Edge, client: Client, wished: object) -> dict[str, tuple[str, str, int | None]]:
    """By what was asked for: its fate, the chain's name, the strikes on each side."""
    watched = sum(len(_chains_of(each)) for each in edge.memory.hub.clients_of(client.user_id))
    room = edge.settings.stream_chains - watched
    has = {topic.instrument for topic in _chains_of(client)}
    fates: dict[str, tuple[str, str, int | None]] = {}
    for each in wished if isinstance(wished, list) else ():
        read = _chain_wish(each) if isinstance(each, dict) else None
        if read is None:
            fates[str(each)] = ("write {exchange, underlying, expiry, strikes}", "", None)
        elif read[0] not in has and room <= 0:
            fates[read[0]] = (f"no more than {edge.settings.stream_chains} chains of one user", *read)
        else:
            room -= read[0] not in has
            has.add(read[0])
            fates[read[0]] = ("ok", *read)
    return fates


def _chains_of(client: Client) -> list[ChainTopic]:
    return [topic for topic in client.topics if isinstance(topic, ChainTopic)]


def _objects(wished: object) -> list[dict[str, object]]:
    return [each for each in wished if isinstance(each, dict)] if isinstance(wished, list) else []


def _chain_wish(each: dict[str, object]) -> tuple[str, int | None] | None:
    name = chain_name(each.get("exchange", "NFO"), each.get("underlying"), each.get("expiry"))
    strikes = each.get("strikes")
    if name is None or not (strikes is None or (isinstance(strikes, int) and 0 <= strikes <= MOST_STRIKES)):
        return None
    return name, strikes


def _stream_chains(edge: Edge, client: Client, chains: Sequence[tuple[str, int | None]]) -> None:
    hub = edge.memory.hub
    now = edge.runtime.clock.now()
    for name, each_side in chains:
        chain = hub.prices.chain(name)
        topic = chain.window_of(each_side)
        hub.unwatch_topics(client, [each for each in _chains_of(client) if each.chain is chain and each is not topic])
        hub.watch_topics(client, [topic])
        if chain.known(now):
            client.send(topic.snapshot())
        else:
            topic.expecting.add(client)
    if chains:
        edge.memory.watching.changed()
