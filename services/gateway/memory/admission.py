"""How many new orders may be on their way at once: as many as are decided quickly. One more is refused, at once.

What is late tells of too much only while it stays late: partitions that move, a service that is restarted or a slow
second leave a queue that goes away by itself, and whoever turned orders away for it would make a pause an outage. So
the answers of half a second are judged together, and only when most were late several times in a row, and waits did
not get shorter meanwhile, does the limit shrink (a queue that stands, not one that passes: CoDel's distinction, RFC
8289); it grows back while they are quick.
Who has little under way is let in all the same while others fill the place: a flood of one user is his own overload.
Cancels are never refused here, and exits only to who alone has as many of them under way as may be in all: when there
is too much to do, what reduces risk comes first, but whoever calls all that he sends an exit is not to fill the place.
"""

from collections import Counter

from libs.common.contracts.ids import UserId

FEWEST, START, MOST = 64, 256, 400
"""START is what 110 orders a second leave under way in a pause of two seconds, the longest that partitions may take."""
LATE_S = 0.4
"""An answer that takes longer tells that more is under way than can be done."""
LOOK_S = 0.5
STANDS_AFTER = 5
"""So many late looks without a quick one between them: the queue stands."""
SHORTER = 0.9
"""Waits that get shorter by so much from look to look are of a queue that goes away, on a slow machine too."""
SHRINK, GROW = 0.7, 1.1


class Admission:
    """One per process. Times are seconds on any clock that never jumps."""

    def __init__(self) -> None:
        self.limit = float(START)
        self.under_way = 0
        self._own: Counter[UserId] = Counter()
        """Under way, by user; nobody who has none."""
        self._exits: Counter[UserId] = Counter()
        """The same, of exits alone."""
        self.refused = 0
        self._looked_at = 0.0
        self._late = self._quick = 0
        """Answers since the last look."""
        self._waited = self._waited_before = 0.0
        """Seconds, since the last look all together, and before it on average."""
        self._late_looks = 0

    def takes(self) -> bool:
        """Whether a new order may come in."""
        return self.under_way < self.limit

    def has_share(self, user_id: UserId) -> bool:
        """Whether a new order of this user may come in though there is no place: with it he has no more under way than
        each of those who have any might have. So at most as many again come in.
        """
        users = len(self._own) + (user_id not in self._own)
        return (self._own[user_id] + 1) * users <= self.limit

    def lets_out(self, user_id: UserId) -> bool:
        """Whether an exit of this user may come in though there is no place."""
        return self._exits[user_id] < self.limit

    def begin(self, user_id: UserId, *, is_exit: bool = False) -> None:
        self.under_way += 1
        self._own[user_id] += 1
        if is_exit:
            self._exits[user_id] += 1

    def end(self, user_id: UserId, seconds: float, now: float, *, is_exit: bool = False) -> None:
        """An order was answered after so many seconds."""
        for counted in (self._own, self._exits) if is_exit else (self._own,):
            counted[user_id] -= 1
            if not counted[user_id]:
                del counted[user_id]
        if now - self._looked_at >= LOOK_S:
            self._look()
            self._looked_at = now
        if seconds > LATE_S:
            self._late += 1
        else:
            self._quick += 1
        self._waited += seconds
        self.under_way -= 1

    def _look(self) -> None:
        """The limit grows beyond where it began only while it is what holds orders back."""
        late = self._late > self._quick
        wait = self._waited / max(self._late + self._quick, 1)
        stands = late and wait >= self._waited_before * SHORTER
        self._late = self._quick = 0
        self._waited, self._waited_before = 0.0, wait
        if not late:
            self._late_looks = 0
        elif stands:
            self._late_looks += 1
        if stands and self._late_looks >= STANDS_AFTER:
            self.limit = max(FEWEST, self.limit * SHRINK)
        elif not late and self.limit < START:
            self.limit = min(START, self.limit * GROW)
        elif not late and self.under_way * 2 > self.limit:
            self.limit = min(MOST, self.limit * GROW)
