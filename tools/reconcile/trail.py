"""The whole message trail of each counterexample: the log is read once more, for what names its subject."""

from collections.abc import Mapping

from tools.reconcile.log import Log
from tools.reconcile.record import Partition, Record
from tools.reconcile.rules import EVER, Finding, Rule


def trails(
    log: Log, until: Mapping[Partition, int], findings: Mapping[Rule, Finding], most: int
) -> tuple[dict[Rule, list[Record]], dict[Rule, int]]:
    """By rule, in the order of time: at most so many, the nearest before the counterexample; how many were left out."""
    wanted = {rule: tuple(token.encode() for token in found.about.tokens) for rule, found in findings.items()}
    kept: dict[Rule, list[Record]] = {rule: [] for rule in wanted}
    left_out: dict[Rule, int] = dict.fromkeys(wanted, 0)
    if not wanted:
        return kept, left_out
    for record in log.again(until):
        text = b"\n".join((record.value, record.key.encode(), record.id.encode(), record.story.encode()))
        for rule, tokens in wanted.items():
            if all(token in text for token in tokens):
                kept[rule].append(record)
                if len(kept[rule]) > 4 * most:
                    kept[rule] = _nearest(kept[rule], findings[rule], most)
                    left_out[rule] += 3 * most + 1
    for rule, found in kept.items():
        nearest = _nearest(found, findings[rule], most)
        left_out[rule] += len(found) - len(nearest)
        kept[rule] = nearest
    return kept, left_out


def _nearest(records: list[Record], finding: Finding, most: int) -> list[Record]:
    """With a little of what came after it."""
    ordered = sorted(records, key=lambda record: (record.millis, record.topic, record.partition, record.offset))
    if len(ordered) <= most or finding.at == EVER:
        return ordered[-most:]
    here = int(finding.at.timestamp() * 1000)
    end = sum(1 for record in ordered if record.millis <= here) + most // 5
    end = max(min(end, len(ordered)), most)
    return ordered[end - most : end]
