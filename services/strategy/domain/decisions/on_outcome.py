"""What an algo does about what became of its orders and square-offs."""

from dataclasses import replace

from libs.common.contracts.algos import Algo, LegRefused, SquareOffRefused
from libs.common.contracts.base import Message
from libs.common.contracts.enums import LegRefusedRule, RepeatRule, Side, SquareOffReason
from libs.common.contracts.ids import InstrumentId, OrderId, SquareOffId
from libs.common.ids import derive
from services.strategy.domain import holdings, legs
from services.strategy.domain.decisions.decision import Answer, Decision, Situation
from services.strategy.domain.decisions.requests import enter, may_trade, square_off_request
from services.strategy.domain.holdings import Holding, Reversal
from services.strategy.domain.legs import Impossible


def leg_ended(
    algo: Algo, holding: Holding, order_id: OrderId, instrument: InstrumentId, reason: str, situation: Situation
) -> Decision:
    """Nothing more comes of one order of an entry, and it did not trade whole: a leg of a spread may stand alone now.

    What the algo holds in the account is closed, with whatever still fills behind it, unless its rule is to keep it.
    """
    entry = holding.entries[order_id]
    left = holdings.ended(holding, order_id)
    if entry.legs == 1 or left.closing is not None or not left.occupied:
        return advance(algo, left, situation)
    square_off_id = SquareOffId(derive(order_id, "leg-refused"))
    closes = algo.on_leg_refused is LegRefusedRule.CLOSE_OTHERS
    said = LegRefused(
        algo_id=algo.algo_id,
        user_id=algo.user_id,
        account_id=holding.account_id,
        order_id=order_id,
        instrument=instrument,
        reason=reason,
        square_off_id=square_off_id if closes else None,
    )
    if not closes:
        return Decision((said,), (left,))
    request = square_off_request(left, square_off_id, SquareOffReason.LEG_REFUSED)
    return Decision((said, request), (holdings.closing(left, square_off_id, situation.market.now),))


def entry_found(
    algo: Algo,
    holding: Holding,
    order_id: OrderId,
    instrument: InstrumentId,
    side: Side | None,
    remaining: int,
    situation: Situation,
) -> Decision:
    """The venue has an entry that was told to be rejected. What was concluded from that stands: where the other legs
    were closed for it, or all of the algo was, it is closed as well.
    """
    direction = side and legs.direction_of(algo, side)
    found = holdings.found(holding, order_id, remaining, len(algo.legs), direction, situation.market.now)
    closes = len(algo.legs) > 1 and algo.on_leg_refused is LegRefusedRule.CLOSE_OTHERS
    under_way = holding.closing
    if (under_way and not under_way.answered) or not (closes or under_way):
        return Decision((), (found,))
    square_off_id = SquareOffId(derive(order_id, "found"))
    said = LegRefused(
        algo_id=algo.algo_id,
        user_id=algo.user_id,
        account_id=holding.account_id,
        order_id=order_id,
        instrument=instrument,
        reason="the venue has the order after its rejection: it is closed, since what belonged to it was",
        square_off_id=square_off_id,
    )
    request = square_off_request(found, square_off_id, SquareOffReason.LEG_REFUSED)
    return Decision((said, request), (holdings.closing(found, square_off_id, situation.market.now),))


def entry_came_late(
    algo: Algo, holding: Holding, order_id: OrderId, instrument: InstrumentId, situation: Situation
) -> Decision:
    """An entry that was given up for lost has filled: the square-off behind which it was lost was to leave nothing.
    What was entered since, in other instruments, is none of that.
    """
    if holding.closing is not None and not holding.closing.answered:
        return advance(algo, holding, situation)
    square_off_id = SquareOffId(derive(order_id, "late"))
    request = square_off_request(holding, square_off_id)
    if holding.entries or holding.instruments != {instrument}:
        return Decision((request.model_copy(update={"instrument": instrument}),), (holding,))
    return Decision((request,), (holdings.closing(holding, square_off_id, situation.market.now),))


def square_off_refused(algo: Algo, holding: Holding, square_off_id: SquareOffId, reason: str) -> Decision:
    """Trading closes nothing (it knows no such account): say so, and be free for the next exit."""
    if holding.closing is None or holding.closing.square_off_id != square_off_id:
        return Decision()
    said: list[Message] = [
        SquareOffRefused(
            algo_id=algo.algo_id,
            user_id=algo.user_id,
            account_id=holding.account_id,
            square_off_id=square_off_id,
            reason=reason,
        )
    ]
    if holding.reversal is not None:
        answer = Answer(algo, holding.reversal.signal_id, holding.reversal.signal_type, holding.stock)
        answer.skip(f"the old position cannot be closed: {reason}")
        said.extend(answer.decision().messages)
    return Decision(tuple(said), (holdings.refused(holding, square_off_id),))


def advance(algo: Algo, holding: Holding, situation: Situation) -> Decision:
    """The next step after something became of the algo's orders: close what slipped through, or reverse at last."""
    under_way = holding.closing
    if under_way is None or not under_way.answered:
        return Decision((), (holding,))
    if holding.is_open:
        again = SquareOffId(derive(under_way.square_off_id, "again"))
        request = square_off_request(holding, again)
        return Decision((request,), (holdings.closing(holding, again, situation.market.now),))
    if holding.entries:
        return Decision((), (holding,))
    direction = holding.direction if holding.left else None
    flat = replace(holding, closing=None, direction=direction, reversal=None)
    if holding.reversal is None:
        return Decision((), (flat,))
    return _enter_reversal(algo, flat, holding.reversal, situation)


def _enter_reversal(algo: Algo, flat: Holding, reversal: Reversal, situation: Situation) -> Decision:
    answer = Answer(algo, reversal.signal_id, reversal.signal_type, flat.stock)
    linked = next((each for each in algo.accounts if each.account_id == flat.account_id), None)
    may_reverse = not reversal.reverses or algo.on_repeat is RepeatRule.REVERSE
    if linked is None or not algo.legs or not algo.active or not may_reverse:
        answer.skip("the algo was changed before it could enter")
    elif situation.market.now > reversal.deadline:
        answer.skip("the old position was not closed in time to enter")
    elif may_trade(answer, linked, situation):
        contracts = legs.resolve(algo, situation.market)
        if isinstance(contracts, Impossible):
            answer.skip(contracts.reason)
        else:
            enter(answer, flat, linked, contracts, reversal.action, situation)
    if not answer.holdings:
        answer.holdings.append(flat)
    return answer.decision()


def give_up(algo: Algo, holding: Holding) -> Decision:
    """The old position was not closed in time: the reversal is forgotten, the closing is not."""
    if holding.reversal is None:
        return Decision()
    answer = Answer(algo, holding.reversal.signal_id, holding.reversal.signal_type, holding.stock)
    answer.skip("the old position was not closed in time to enter")
    answer.holdings.append(replace(holding, reversal=None))
    return answer.decision()
