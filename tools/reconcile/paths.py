"""The legal paths of an order, written down anew from the contracts: what each event may make of each state.

    REQUESTED ─▶ DENIED
        └─▶ SUBMITTED ─▶ ACCEPTED ─▶ PARTIALLY_FILLED ─▶ FILLED
                 │  ▲        │               │
                 │  └── OUTCOME_UNKNOWN ◀────┤
                 └───────────┴───────────────┴──▶ CANCELLED | EXPIRED | REJECTED

Money that moved is booked whenever it is heard of: a fill may come after the end, and completes what it completes.
REJECTED opens again only when a venue was FOUND to have the order after all, and the outcome of what a venue had
accepted is unknown only when its end was UNSEEN there; both are checked apart.
"""

from collections.abc import Mapping

from libs.common.contracts.enums import OrderStatus as S

AWAITED = frozenset({S.SUBMITTED, S.OUTCOME_UNKNOWN})
RESTING = frozenset({S.ACCEPTED, S.PARTIALLY_FILLED})
LIVE = AWAITED | RESTING
OVER = frozenset({S.CANCELLED, S.EXPIRED, S.REJECTED})
AT_VENUE = LIVE | OVER | {S.FILLED}


def _stays(states: frozenset[S]) -> dict[S, frozenset[S]]:
    return {state: frozenset({state}) for state in states}


def _all(states: frozenset[S], to: S) -> dict[S, frozenset[S]]:
    return {state: frozenset({to}) for state in states}


LEGAL: Mapping[str, Mapping[S, frozenset[S]]] = {
    "OrderAccepted": _all(AWAITED | {S.REJECTED}, S.ACCEPTED),
    "OrderReopened": {S.REJECTED: RESTING},
    "OrderOutcomeUnknown": _all(RESTING | {S.SUBMITTED}, S.OUTCOME_UNKNOWN),
    "OrderSettled": {S.OUTCOME_UNKNOWN: frozenset({S.OUTCOME_UNKNOWN})},
    "OrderTriggered": _stays(RESTING),
    "FillReported": {
        **{state: frozenset({S.PARTIALLY_FILLED, S.FILLED}) for state in RESTING},
        **{state: frozenset({state, S.FILLED}) for state in OVER},
        S.FILLED: frozenset({S.FILLED}),
    },
    "OrderModified": {
        S.ACCEPTED: frozenset({S.ACCEPTED, S.FILLED}),
        S.PARTIALLY_FILLED: frozenset({S.PARTIALLY_FILLED, S.FILLED}),
        S.FILLED: frozenset({S.FILLED, S.PARTIALLY_FILLED}),
        **_stays(OVER),
    },
    "OrderCancelled": _all(LIVE, S.CANCELLED),
    "OrderExpired": _all(LIVE, S.EXPIRED),
    "OrderRejected": _all(LIVE, S.REJECTED),
    "OrderCancelRefused": _stays(AT_VENUE | {S.DENIED}),
}


def is_legal(event: str, before: S, after: S) -> bool:
    return after in LEGAL[event].get(before, frozenset())
