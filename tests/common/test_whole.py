"""The log that services have read must still be there when they start."""

import pytest
from confluent_kafka import KafkaException

from libs.common.messaging import whole
from libs.common.messaging.whole import read_beyond_the_end
from libs.common.settings import KafkaSettings
from tests.common.ledger import DepositRequested, new_ledger

pytestmark = pytest.mark.servers


async def test_services_are_not_started_on_a_log_that_lacks_what_they_have_read() -> None:
    """Kafka's data lost, PostgreSQL kept: a reader at offset 5 of an empty topic would pass over five messages."""
    kafka = KafkaSettings()
    async with new_ledger() as ledger:
        await ledger.request(DepositRequested(account_id="asha", amount=1))
        async with ledger.running():
            await ledger.eventually({"asha": 1})
        assert await read_beyond_the_end(ledger.url, kafka) == []
        connection = await ledger.connect()
        await connection.execute("UPDATE message_offsets SET next_offset = next_offset + 5 WHERE next_offset > 0")
        await connection.close()
        [lost] = await read_beyond_the_end(ledger.url, kafka)
        assert f"{ledger.name} has read {ledger.requests.name}/" in lost
        assert "up to 6, Kafka has it up to 1" in lost


async def test_a_topic_that_is_gone_lacks_all_that_was_read_of_it() -> None:
    async with new_ledger() as ledger:
        connection = await ledger.connect()
        await connection.execute("INSERT INTO message_offsets (topic, partition, next_offset) VALUES ('gone', 0, 7)")
        await connection.close()
        [lost] = await read_beyond_the_end(ledger.url, KafkaSettings())
        assert lost == f"{ledger.name} has read gone/0 up to 7, Kafka has it up to 0"


async def test_a_kafka_that_does_not_say_is_not_told_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever believed it would restore a backup over a log that is whole."""
    monkeypatch.setattr(whole, "_ANSWER_S", 0.5)
    async with new_ledger() as ledger:
        connection = await ledger.connect()
        await connection.execute("INSERT INTO message_offsets (topic, partition, next_offset) VALUES ('there', 0, 7)")
        await connection.close()
        with pytest.raises(KafkaException):
            await read_beyond_the_end(ledger.url, KafkaSettings(kafka_bootstrap="127.0.0.1:1"))
