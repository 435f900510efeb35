"""Every client of ours on a Kafka that asks for a password or a certificate, over TLS; and what a refusal says."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from confluent_kafka.admin import AdminClient, NewTopic

from libs.common import ids
from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts.base import Topic
from libs.common.messaging.bulk_reader import BulkReader, BulkTail, Found, Mark, forget, has_handled
from libs.common.messaging.entry import Refused, knock, of_aiokafka, of_librdkafka
from libs.common.messaging.log import LogAway, reading
from libs.common.messaging.reader import Reader
from libs.common.messaging.whole import read_beyond_the_end
from libs.common.schemas import SERVICES
from libs.common.settings import KafkaSettings
from tests.common.instance import Process
from tests.common.ledger import BalanceChanged, Ledger, deposit_of, new_ledger
from tests.common.secured import Secured, secured_kafka
from tests.common.test_commands import run
from tests.common.test_waiting import told_at_last
from tests.examples import test_examples as examples
from tools.backup import pieces, records
from tools.reconcile.log import KafkaLog

pytestmark = pytest.mark.servers
WAYS = ("SCRAM-SHA-512", "PLAIN", "certificate")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("kafka")) as made:
        yield made


def way(kafka: Secured, name: str) -> dict[str, str]:
    return kafka.with_certificate() if name == "certificate" else kafka.with_password(name)


@pytest.fixture(params=WAYS)
def let_in(request: pytest.FixtureRequest, kafka: Secured, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    for name, value in way(kafka, request.param).items():
        monkeypatch.setenv(name, value)
    return KafkaSettings()


@pytest.fixture
async def ledger(let_in: KafkaSettings) -> AsyncIterator[Ledger]:
    async with new_ledger() as made:
        yield made


async def test_a_service_hears_says_and_publishes(ledger: Ledger, let_in: KafkaSettings) -> None:
    """Whoever had a managed Kafka could not use it: no client of ours knew of TLS or of passwords."""
    async with ledger.running() as runtime:
        await runtime.send(BalanceChanged(account_id="b", balance=7, amount=7))
        await ledger.request(deposit_of("a", 5))
        await ledger.eventually({"a": 5})
        assert {event.balance for _, event in await ledger.said(2)} == {7, 5}
        assert await read_beyond_the_end(ledger.url, let_in) == []
        runtime.publish_bulk(BalanceChanged(account_id="c", balance=9, amount=9))
        await runtime.bulk.flush(10)
    assert await asyncio.to_thread(tailed, ledger.events, let_in) == 3


def tailed(topic: Topic, kafka: KafkaSettings) -> int:
    tail, found, until = BulkTail(topic, kafka, SystemClock().now() - timedelta(minutes=1)), 0, stopwatch() + 10
    try:
        while found < 3 and stopwatch() < until:
            found += len(tail.read(10, 0.2))
    finally:
        tail.close()
    return found


async def test_what_shares_a_topic_reads_and_commits(ledger: Ledger, let_in: KafkaSettings) -> None:
    await ledger.request(deposit_of("a", 5))
    await asyncio.to_thread(share, ledger.requests, let_in, f"{ledger.name}-group")


def share(topic: Topic, kafka: KafkaSettings, group: str) -> None:
    def assigned(found: Mapping[int, Found]) -> Mapping[int, int]:
        return {number: each.first for number, each in found.items()}

    reader, until = BulkReader(topic, kafka, group, "0", assigned, lambda _: None), stopwatch() + 20
    with contextlib.closing(reader):
        while not (read := reader.read(10, 0.2)):
            assert stopwatch() < until
        reader.commit({read[0].partition() or 0: Mark((read[0].offset() or 0) + 1)}, wait=True)
    assert has_handled(group, topic, kafka, SystemClock().now() + timedelta(seconds=1))
    forget(f"{group}-of-nobody", kafka)  # one that was read counts as read for seconds yet


def given() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("KAFKA_")}


async def test_topics_are_made_by_command_and_the_log_is_copied_and_put_back(
    ledger: Ledger, let_in: KafkaSettings, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(run, "libs.common.messaging topics", given())
    assert done.returncode == 0, done.stderr
    await ledger.request(deposit_of("a", 5))
    async with reading(let_in, [ledger.requests.name]) as log:
        assert (await pieces.copy(log, tmp_path, None)).records == 1
    files, ends_of = tmp_path / records.FOLDER, [f"{ledger.requests.name}/0"]
    await asyncio.to_thread(records.put_back, files, let_in, ends_of, {})
    reader = Reader(let_in, "test")
    found = await reader.partitions([ledger.requests.name])
    ends = await reader.ends([(name, number) for name, numbers in found.items() for number in numbers])
    await reader.close()
    assert sum(ends.values()) == 2
    spans = await asyncio.to_thread(lambda: KafkaLog(let_in).spans())
    assert {span.high for span in spans.values()} == {0}


WRONG = {
    "password": ({"KAFKA_SASL_PASSWORD": "guessed"}, "SaslAuthenticationFailed", "KAFKA_SASL_PASSWORD"),
    "mechanism": ({"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}, "UnsupportedSaslMechanism", "KAFKA_SASL_MECHANISM"),
    "authority": ({"KAFKA_SSL_CA_FILE": ""}, "CERTIFICATE_VERIFY_FAILED", "KAFKA_SSL_CA_FILE"),
}


@pytest.mark.parametrize(("wrong", "why", "what"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
async def test_a_process_that_kafka_will_not_have_ends_at_once_and_says_on_one_line_why_and_what_to_do(
    kafka: Secured,
    capfd: pytest.CaptureFixture[str],
    *,
    mechanism: str,
    wrong: dict[str, str],
    why: str,
    what: str,
) -> None:
    async with new_ledger() as ledger:
        process = Process(ledger.name, ledger.url, 0)
        try:
            await process.start(**kafka.with_password(mechanism) | wrong)
            assert await process.ended() == 1
        finally:
            process.end()
    last = told_at_last(capfd)
    assert (last["event"], last["level"]) == ("cannot_start", "critical")
    assert why in last["missing"]["kafka"]
    assert what in last["hint"]
    assert "guessed" not in str(last)


async def test_a_process_that_speaks_otherwise_than_kafka_there_waits_and_says_what_may_be_wrong(
    kafka: Secured, capfd: pytest.CaptureFixture[str]
) -> None:
    """A Kafka that begins closes connections, too, so it does not end."""
    async with new_ledger() as ledger:
        process = Process(ledger.name, ledger.url, 0)
        for address, protocol in ((kafka.by_password, "PLAINTEXT"), (kafka.inside, "SSL")):
            starting = asyncio.create_task(process.start(KAFKA_BOOTSTRAP=address, KAFKA_SECURITY_PROTOCOL=protocol))
            try:
                told = ""
                async with asyncio.timeout(30):
                    while f"is it KAFKA_SECURITY_PROTOCOL={protocol} there" not in told:
                        told += capfd.readouterr().out
                        await asyncio.sleep(0.1)
                assert not await process.is_ready()
            finally:
                process.end()
                await starting


async def test_a_password_is_not_offered_for_ever_to_a_kafka_that_asks_nobody(
    kafka: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in kafka.with_password("PLAIN").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("KAFKA_SSL_CA_FILE", "")
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka.inside)
    with pytest.raises(Refused) as refused:
        await knock(KafkaSettings())
    assert "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT" in refused.value.remedy


async def test_a_kafka_that_wants_a_certificate_of_ours_is_asked_about_it(
    kafka: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka.by_certificate)
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA_SSL_CA_FILE", kafka.authority)
    with pytest.raises(KafkaConnectionError, match="there, without a KAFKA_SSL_CERTIFICATE_FILE"):
        await knock(KafkaSettings())


@pytest.mark.parametrize("command", ["libs.common.messaging topics", "tools.reconcile --instance="])
def test_a_command_that_kafka_will_not_have_says_so_in_one_line_within_seconds(kafka: Secured, command: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:9/nothing"
    urls = {f"{name.upper()}_DATABASE_URL": nowhere for name in SERVICES}
    began = stopwatch()
    done = run(command, urls | kafka.with_password("PLAIN") | {"KAFKA_SASL_PASSWORD": "guessed"})
    assert stopwatch() - began < 10
    assert done.returncode == (1 if "topics" in command else 2)
    assert done.stderr.count("correct KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD") == 1
    assert "Traceback" not in done.stderr
    assert "guessed" not in done.stderr


async def test_a_log_that_kafka_will_not_give_says_why(kafka: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a backup and of a rebuild."""
    for name, value in (kafka.with_password("PLAIN") | {"KAFKA_SASL_USERNAME": "stranger"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LogAway, match=r"Authentication.*; correct KAFKA_SASL_USERNAME"):
        async with reading(KafkaSettings(), ["t"]):
            pass


@pytest.mark.parametrize("name", ["SCRAM-SHA-512", "certificate"])
async def test_the_examples_for_analysts_read_it_and_say_what_they_found(
    kafka: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable, value in way(kafka, name).items():
        monkeypatch.setenv(variable, value)
    app = f"test-vwap-{ids.new_id().hex[-8:]}"
    candles, told = f"{app}-candles", f"{app}-vwap"
    tables = [f"{app}-{table}-changelog" for table in ("newest", "turnover", "volume")]
    admin = AdminClient(of_librdkafka(KafkaSettings()))
    for made in admin.create_topics([NewTopic(each, 6, 1) for each in (candles, told, *tables)]).values():
        await asyncio.to_thread(made.result, 10)
    asked = {"VWAP_APP": app, "VWAP_CANDLES": candles, "VWAP_TOPIC": told, "VWAP_DATA": str(tmp_path)}
    script = (str(examples.EXAMPLES / "rolling_vwap.py"), "worker", "-l", "warn", "--without-web")
    worker = await examples.run(*script, **asked)
    try:
        async with AIOKafkaProducer(**of_aiokafka(KafkaSettings())) as producer:
            await producer.send_and_wait(candles, examples.candle("NSE:SBIN", 0, 100, 10), key=b"NSE:SBIN")
        words = ("--topic", told, "--from-beginning", "--count", "1")
        said = await examples.output(await examples.run(str(examples.EXAMPLES / "plain_consumer.py"), *words))
        assert json.loads(said[said.index("{") :])["vwap"] == 100
    finally:
        worker.send_signal(signal.SIGINT)
        sys.stdout.write(await examples.output(worker))
