"""Which algos are saved and deleted, and what a signal makes one wish."""

from decimal import Decimal

import pytest

from libs.common.contracts.algos import AlgoDeleteRequested, AlgoLeg, AlgoSaved, LinkedAccount
from libs.common.contracts.algos import SignalMapping as Mapping
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import InstrumentKind, OptionType, Product, Side, SignalType, StrikeRule
from libs.common.contracts.ids import AccountId, UserId
from libs.common.ids import new_id
from services.strategy.domain import algos
from services.strategy.domain.algos import KnownAccount, Wish
from tests.services.strategy.scene import (
    FIRST,
    FUTURE_LEG,
    GROUP,
    SHARE_LEG,
    SPREAD,
    USER,
    a_signal,
    an_algo,
    option_leg,
    save,
)


def code_of(event: object) -> str:
    assert isinstance(event, RequestRefused)
    assert event.reason
    return event.code


def test_saving_an_algo_counts_versions() -> None:
    algo = an_algo()
    saved = AlgoSaved(algo_id=algo.algo_id, user_id=USER, algo=algo, version=1)
    assert algos.decide_save(None, 0, save(algo), {}) == saved
    assert algos.decide_save(algo, 1, save(algo, 1), {}) == saved.model_copy(update={"version": 2})
    assert code_of(algos.decide_save(algo, 2, save(algo, 1), {})) == "conflict"
    assert code_of(algos.decide_save(algo, 1, save(algo), {})) == "conflict"
    assert code_of(algos.decide_save(None, 0, save(algo, 1), {})) == "not_found"


def test_somebody_elses_algo_is_not_found() -> None:
    algo = an_algo()
    stranger = algo.model_copy(update={"user_id": UserId(new_id())})
    assert code_of(algos.decide_save(algo, 1, save(stranger, 1), {})) == "not_found"
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=stranger.user_id)
    assert code_of(algos.decide_delete(algo, False, delete)) == "not_found"


def test_an_algo_in_position_is_not_deleted() -> None:
    algo = an_algo()
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    assert code_of(algos.decide_delete(algo, True, delete)) == "conflict"
    assert not isinstance(algos.decide_delete(algo, False, delete), RequestRefused)


def test_an_algo_is_not_linked_to_another_users_account() -> None:
    accounts: dict[AccountId, KnownAccount] = {FIRST: KnownAccount(UserId(new_id()), "theirs", active=True)}
    assert code_of(algos.decide_save(None, 0, save(an_algo()), accounts)) == "invalid"


WRONG_LEGS = [
    option_leg(lots=0),
    option_leg(lots=-1),
    option_leg(strike=StrikeRule.OTM),
    option_leg(strike=StrikeRule.ITM, offset=-1),
    option_leg(offset=201),
    option_leg().model_copy(update={"underlying": None}),
    option_leg().model_copy(update={"expiry": None}),
    option_leg().model_copy(update={"option_type": None}),
    option_leg().model_copy(update={"strike": None}),
    FUTURE_LEG.model_copy(update={"underlying": ""}),
    FUTURE_LEG.model_copy(update={"expiry": None}),
    SHARE_LEG.model_copy(update={"instrument": None}),
    SHARE_LEG.model_copy(update={"kind": InstrumentKind.INDEX}),
    SHARE_LEG.model_copy(update={"instrument": "NSE:" + "A" * 77}),
    FUTURE_LEG.model_copy(update={"underlying": "A" * 81}),
]


@pytest.mark.parametrize("leg", WRONG_LEGS)
def test_a_leg_that_is_not_complete_is_refused_and_named(leg: AlgoLeg) -> None:
    problem = algos.what_is_wrong(an_algo([option_leg(), leg]))
    assert problem
    assert problem.startswith("leg 2: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"legs": ()},
        {"legs": (option_leg(),) * 11},
        {"accounts": ()},
        {"accounts": (LinkedAccount(account_id=FIRST), LinkedAccount(account_id=FIRST))},
        {"accounts": (LinkedAccount(account_id=FIRST, multiplier=Decimal(0)),)},
        {"accounts": (LinkedAccount(account_id=FIRST, multiplier=Decimal(10_001)),)},
        {"accounts": (LinkedAccount(account_id=FIRST, multiplier=Decimal("1." + "3" * 19)),)},
        {"product": Product.CNC},
        {"product": Product.NRML, "legs": (SHARE_LEG,)},
        {"mappings": (Mapping(group_id=GROUP, exit_on=SignalType.ENTRY),)},
        {"mappings": (Mapping(group_id=GROUP, exit_on=SignalType.ENTRY, exit_action=Side.SELL),)},
    ],
)
def test_an_algo_that_could_not_work_is_refused(changes: dict[str, object]) -> None:
    assert code_of(algos.decide_save(None, 0, save(an_algo().model_copy(update=changes)), {})) == "invalid"


def test_an_algo_may_enter_on_buys_and_exit_on_sells_of_one_kind() -> None:
    mapping = Mapping(group_id=GROUP, exit_on=SignalType.ENTRY, entry_action=Side.BUY, exit_action=Side.SELL)
    algo = an_algo(mappings=(mapping,))
    assert algos.what_is_wrong(algo) is None
    assert algos.wish(algo, a_signal()) is Wish.ENTER
    assert algos.wish(algo, a_signal(action=Side.SELL)) is Wish.EXIT
    assert algos.wish(algo, a_signal(SignalType.EXIT)) is Wish.NOTHING


def test_legs_are_turned_round_only_where_each_trades_its_other_side() -> None:
    """A spread whose legs are written in another order is the same one; a put sold is no call bought turned round."""
    spread, call = an_algo(SPREAD), an_algo([option_leg()])
    assert algos.turns(spread, an_algo([leg.model_copy(update={"side": leg.side.opposite}) for leg in SPREAD]))
    assert algos.turns(call, an_algo([option_leg(Side.SELL, lots=2)])), "seen: it stayed long on each buy signal"
    assert not algos.turns(spread, an_algo([option_leg()]))
    assert not algos.turns(spread, spread)
    assert not algos.turns(spread, an_algo(SPREAD[::-1]))
    assert not algos.turns(call, an_algo([option_leg(Side.SELL, option_type=OptionType.PE)]))
    assert not algos.turns(call, an_algo(SPREAD))
