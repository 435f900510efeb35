"""What is proven, a sentence each, and the findings against it: the first counterexample of a rule, and how many."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

EVER = datetime.min.replace(tzinfo=UTC)


class Rule(StrEnum):
    ANSWERED = "every order that the gateway answered exists, in the state that the answer told of"
    DECIDED = "every order or change asked for was decided once, by risk and by trading: none is lost on the way"
    HISTORY = "every order's history is a legal path of the state machine and ends in the one state that trading keeps"
    CLEARED = "nothing was submitted that risk did not clear"
    EPOCH = "nothing was submitted under an older epoch than the panic in force"
    VENUE = "the venue saw each order at most once, and exactly once if it was submitted"
    FILLS = "every fill is booked exactly once"
    POSITIONS = "every position is the sum of its fills, settlements, splits and bonuses"
    PNL = "realised profit is what the fills realised, to the paisa"
    SETTLED = "every settlement closes what was held of an expired contract, once, at the price that was told"
    FUNDS = "funds are what capital, realised profit and margin leave, to the paisa"
    COPIES = "copies and projections agree with their owner"
    CACHE = "Redis shows what its owner says"
    SIGNALS = "every alert taken became one signal, every algo decided once about it and asked for what it says"
    OUTBOX = "no outbox row is older than a minute"
    PARKED = "no parked message is unexplained"
    READABLE = "every message can be read, or was set aside by whom it concerns"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about. A record that names all of `tokens` belongs to its trail."""

    name: str
    tokens: tuple[str, ...]


def order(order_id: object) -> Subject:
    return Subject(f"order {order_id}", (str(order_id),))


def account(account_id: object) -> Subject:
    return Subject(f"account {account_id}", (str(account_id),))


def contract(instrument: str) -> Subject:
    return Subject(f"contract {instrument}", (instrument,))


def position(account_id: object, instrument: str, product: str, strategy_id: object | None = None) -> Subject:
    book = f", book of strategy {strategy_id}" if strategy_id else ""
    tokens = (str(account_id), instrument, *([str(strategy_id)] if strategy_id else []))
    return Subject(f"position {instrument} {product} of account {account_id}{book}", tokens)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be. `at` is when the message that shows it was sent, where there is one."""

    rule: Rule
    about: Subject
    what: str
    at: datetime


@dataclass
class Findings:
    """The earliest finding of each rule, and how many there were; what could not be proven, and how often."""

    first: dict[Rule, Finding] = field(default_factory=dict)
    broken: Counter[Rule] = field(default_factory=Counter)
    checked: Counter[Rule] = field(default_factory=Counter)
    unproven: Counter[tuple[Rule, str]] = field(default_factory=Counter)
    explained: set[str] = field(default_factory=set)
    """Ids of messages and orders that somebody gave up, or knows about: what they lack is no finding."""

    def add(self, rule: Rule, about: Subject, what: str, at: datetime | None = None) -> None:
        if not self.explained.isdisjoint(about.tokens):
            self.cannot(rule, "somebody gave it up, or knows about it")
            return
        self.broken[rule] += 1
        finding = Finding(rule, about, what, at or EVER)
        known = self.first.get(rule)
        if known is None or (finding.at != EVER and (known.at == EVER or finding.at < known.at)):
            self.first[rule] = finding

    def expect(self, rule: Rule, holds: bool, about: Subject, what: str, at: datetime | None = None) -> bool:
        """Count one proof, or add a finding."""
        self.checked[rule] += 1
        if not holds:
            self.add(rule, about, what, at)
        return holds

    def cannot(self, rule: Rule, why: str, times: int = 1) -> None:
        """Something of the rule could not be proven."""
        self.unproven[rule, why] += times

    def reasons(self, rule: Rule) -> Iterator[tuple[str, int]]:
        return ((why, times) for (of, why), times in sorted(self.unproven.items()) if of is rule)
