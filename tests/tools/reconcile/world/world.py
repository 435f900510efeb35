"""A small platform on paper: what a sound log and sound tables look like, and what tests do to them."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from libs.common.contracts.enums import OrderPurpose, OrderStatus, Side
from tests.tools.reconcile.memory import MemoryLog, MemoryTables
from tests.tools.reconcile.world.held import Placed
from tests.tools.reconcile.world.history import History
from tests.tools.reconcile.world.tables import settle
from tools.reconcile import Sources, rows
from tools.reconcile.rest import READERS


class World(History):
    """A history, and its tables once it is settled."""

    def settle(self) -> "World":
        """Write every table, the owner's and the copies."""
        settle(self)
        return self

    def first(self, status: OrderStatus) -> Placed:
        return next(each for each in self.orders.values() if each.status is status)

    def sources(self, *, behind: str | None = None, **more: Any) -> Sources:
        """`behind` is a service that has handled nothing yet."""
        ends = {each.topic: each.offset + 1 for each in self.records}
        for service in READERS:
            at = {} if service == behind else ends
            self.common[rows.OffsetRow, service] = [rows.OffsetRow(topic, 0, end) for topic, end in at.items()]
        return Sources(MemoryLog(self.records, self.lost), MemoryTables(self.rows, self.common), **more)

    def change(self, kind: type[rows.Row], place: int = 0, **values: Any) -> None:
        """Corrupt a row."""
        self.rows[kind][place] = replace(self.rows[kind][place], **values)

    def drop(self, kind: type[rows.Row], place: int = 0) -> None:
        del self.rows[kind][place]


def expired_world() -> World:
    """The busy one, and then what is held expires at a loss."""
    world = busy_world()
    world.expire("95.50")
    return world


def bonus_world() -> World:
    """The busy one, and a day later one share is given for every two of those that are held, by hand and by an algo."""
    world = busy_world()
    sold = world.place(world.wish(Side.SELL, 1, "101.00", strategy_id=world.strategy_id), opens=False)
    world.fill(sold, 1, "101.00")
    world.fill(world.place(world.wish(Side.BUY, 4)), 4, "102.00")
    world.begin_day()
    world.give_bonus()
    return world


def busy_world() -> World:
    """A bit of everything: bought by hand and by an algo, sold at a profit, resting, changed, cancelled, denied,
    stopped by a panic, squared off, and begun again; its user shut out and let in; compared with its broker;
    with a limit on its losses, and one that was deleted."""
    world = World()
    bought = world.place(world.wish(Side.BUY, 10))
    world.fill(bought, 6, "100.00")
    world.fill(bought, 4, "105.00")
    by_algo = world.place(world.wish(Side.BUY, 10, "101.00", strategy_id=world.strategy_id))
    world.fill(by_algo, 10, "101.00")
    sold = world.place(world.wish(Side.SELL, 5, "110.00"), opens=False)
    world.fill(sold, 5, "110.00")
    world.cancel(world.place(world.wish(Side.BUY, 3, "90.00")))
    world.deny(world.wish(Side.BUY, 1_000_000, "90.00"))
    world.panic()
    exits = world.place(world.wish(Side.SELL, 5, purpose=OrderPurpose.SQUARE_OFF), opens=False)
    world.fill(exits, 5, "99.00")
    world.reset()
    world.place(world.wish(Side.BUY, 7, "80.00"))
    changed = world.place(world.wish(Side.BUY, 4, "81.00"))
    world.modify(changed, 6)
    world.alert()
    world.shut_out()
    world.shut_out(may_trade=True)
    world.compare()
    world.limit(stop_loss=Decimal(2000), max_daily_loss=Decimal(5000), max_open_positions=3)
    world.delete_limit(world.limit(stop_loss=Decimal(100)))
    return world
