"""Never lost, never doubled: the checker that proves it from the log and the tables, with code of its own.

`report = await reconcile(Sources.of(environment)); report.passed; report.text()`
"""

from tools.reconcile.check import reconcile
from tools.reconcile.checks.answers import AlertAnswered, Answered
from tools.reconcile.report import Report
from tools.reconcile.rules import Rule
from tools.reconcile.sources import Options, Sources

__all__ = ["AlertAnswered", "Answered", "Options", "Report", "Rule", "Sources", "reconcile"]
