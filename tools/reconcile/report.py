"""What the checker found, for people and for programs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tools.reconcile.record import Record
from tools.reconcile.rules import Findings, Rule

PROVEN, BROKEN, UNPROVEN = 0, 1, 2


@dataclass
class Report:
    """`unrest` says why the stack never came to rest; then only what one topic shows by itself was looked at."""

    findings: Findings
    orders: int
    fills: int
    messages: int
    repeats: int
    unreadable: int
    seconds: float
    unrest: str | None = None
    trails: dict[Rule, list[Record]] = field(default_factory=dict)
    left_out: dict[Rule, int] = field(default_factory=dict)

    @property
    def broken(self) -> list[Rule]:
        return [rule for rule in Rule if self.findings.broken[rule]]

    @property
    def passed(self) -> bool:
        return self.exit_code == PROVEN

    @property
    def exit_code(self) -> int:
        """0: nothing is wrong. 1: a rule is broken. 2: nothing was found, but the stack never came to rest."""
        if self.broken:
            return BROKEN
        return UNPROVEN if self.unrest else PROVEN

    def text(self) -> str:
        return "\n".join(self._lines())

    def as_json(self) -> dict[str, object]:
        return {
            "passed": self.passed,
            "unrest": self.unrest,
            "orders": self.orders,
            "fills": self.fills,
            "messages": self.messages,
            "repeated_on_the_wire": self.repeats,
            "unreadable": self.unreadable,
            "seconds": round(self.seconds, 3),
            "rules": {rule.name: self._rule(rule) for rule in Rule},
        }

    def _rule(self, rule: Rule) -> dict[str, object]:
        found = self.findings.first.get(rule)
        return {
            "says": rule.value,
            "checked": self.findings.checked[rule],
            "broken": self.findings.broken[rule],
            "unproven": dict(self.findings.reasons(rule)),
            "first": {"about": found.about.name, "what": found.what} if found else None,
            "trail": [line(record) for record in self.trails.get(rule, [])],
        }

    def _lines(self) -> Iterator[str]:
        yield (
            f"{self.orders} orders, {self.fills} fills, {self.messages} messages "
            f"({self.repeats} repeated on the wire, {self.unreadable} unreadable) in {self.seconds:.1f} s"
        )
        if self.unrest:
            yield f"NOT AT REST: {self.unrest}. Only what a topic shows by itself was looked at."
        for rule in Rule:
            yield from self._verdict(rule)
        for rule in self.broken:
            yield from self._counterexample(rule)

    def _verdict(self, rule: Rule) -> Iterator[str]:
        broken, checked = self.findings.broken[rule], self.findings.checked[rule]
        reasons = list(self.findings.reasons(rule))
        word = "BROKEN " if broken else "proven " if checked else "unknown" if reasons else "nothing"
        count = f"{broken} of {checked} times" if broken else f"{checked} times"
        yield f"  {word} {rule.value} ({count})"
        for why, times in reasons:
            yield f"           not proven {times} times: {why}"

    def _counterexample(self, rule: Rule) -> Iterator[str]:
        found = self.findings.first[rule]
        yield ""
        yield f"{rule.name}: {rule.value}"
        yield f"  {found.about.name} {found.what}"
        for record in self.trails.get(rule, []):
            yield f"    {line(record)}"
        if self.left_out.get(rule):
            yield f"    … and {self.left_out[rule]} messages more, further away"


def line(record: Record) -> str:
    value = record.value.decode(errors="replace")
    return (
        f"{record.sent_at:%Y-%m-%d %H:%M:%S.%f} {record.place} {record.type} id={record.id} story={record.story} "
        f"key={record.key} from={record.source} {value}"
    )
