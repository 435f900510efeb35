"""Every report of every venue, once: what makes a repeat a repeat."""

from collections.abc import Iterable

from libs.common.contracts.enums import Broker
from libs.common.contracts.venue import ExecutionReported
from libs.common.database import Connection
from libs.common.reads import Reads, Row
from libs.common.writes import Writes

SELECT = "SELECT venue, execution_id FROM executions WHERE execution_id = ANY($1::text[])"
INSERT = """
INSERT INTO executions
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::integer[], $6::numeric[], $7::timestamptz[])
"""


class Executions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard: set[tuple[str, str]] = set()
        self._checked: set[str] = set()
        self._new: list[Row] = []

    async def is_new(self, venue: Broker, execution: ExecutionReported) -> bool:
        """Whether this was never heard before, by any road. From now on it was."""
        reads = Reads(self._connection)
        self.ask(reads, [execution.execution_id])
        await reads.send()
        key = (venue, execution.execution_id)
        if key in self._heard:
            return False
        self._heard.add(key)
        self._new.append(
            (*key, execution.order_id, execution.kind, execution.quantity, execution.price, execution.executed_at)
        )
        return True

    def check_again(self) -> None:
        """Some came back from the archive since they were looked for."""
        self._checked.clear()

    def ask(self, reads: Reads, execution_ids: Iterable[str]) -> None:
        missing = [each for each in execution_ids if each not in self._checked]
        if missing:
            self._checked.update(missing)
            reads.add(SELECT, self._heard.update, missing)

    def flush(self, writes: Writes) -> None:
        writes.add_rows(INSERT, self._new)
