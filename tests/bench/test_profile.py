"""The folding of py-spy's stacks into stages: what each sample is counted for."""

from collections import Counter

import pytest

from bench.profile.sample import Sample, Used
from bench.profile.stacks import Fold, fold, parse, shared_out
from bench.profile.stages import Stage

MESSAGING = "libs/common/messaging"
LOOP = (
    "_run_module_as_main (<frozen runpy>);<module> (services/trading/__main__.py);run (libs/common/runtime.py);"
    "uv_run (core.c)"
)
BATCH = f"{LOOP};Consumer.run ({MESSAGING}/consumer.py);Handling._handle ({MESSAGING}/handling.py)"
GATHER = f"{LOOP};Consumer.run ({MESSAGING}/consumer.py);Consumer._gather ({MESSAGING}/consumer.py)"
HANDLER = f"{BATCH};Work._handle_one ({MESSAGING}/work.py);place (services/trading/handlers/orders.py)"
WRITE = "UVStream_write (loop.c);write (libc.so.6)"


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        (f"{HANDLER};decide (services/trading/domain/orders.py)", Stage.HANDLERS),
        (f"{HANDLER};Orders.open (services/trading/store/orders.py)", Stage.STORE),
        (f"{HANDLER};BaseModel.__init__ (pydantic/main.py)", Stage.HANDLERS),
        (f"{BATCH};Handling._moves ({MESSAGING}/handling.py)", Stage.BATCH),
        (f"{BATCH};enter ({MESSAGING}/inbox.py);Connection.fetch (asyncpg/connection.py);{WRITE}", Stage.STORE),
        (f"{BATCH};Work.say ({MESSAGING}/work.py);derive (libs/common/ids.py)", Stage.ENCODING),
        (f"{BATCH};Work.say ({MESSAGING}/work.py);record ({MESSAGING}/envelope.py)", Stage.ENCODING),
        (f"{BATCH};Outbox._send ({MESSAGING}/outbox.py);Record.headers ({MESSAGING}/envelope.py)",
         Stage.ENCODING),
        (f"{BATCH};Outbox._send ({MESSAGING}/outbox.py);murmur2 (aiokafka/partitioner.py)", Stage.PRODUCING),
        (f"{LOOP};Sender._send (aiokafka/producer/sender.py);send (aiokafka/conn.py);{WRITE}", Stage.PRODUCING),
        (f"{GATHER};Reader.read ({MESSAGING}/reader.py);0x7f (cimpl.so)", Stage.READING),
        (f"{GATHER};Consumer._read ({MESSAGING}/consumer.py);merge (heapq.py)", Stage.READING),
        (f"{GATHER};Consumer._read ({MESSAGING}/consumer.py);Consumed.read ({MESSAGING}/inbound.py)", Stage.DECODING),
        (f"{GATHER};_decode ({MESSAGING}/inbound.py);read_envelope ({MESSAGING}/envelope.py);UUID.__init__ (uuid.py)",
         Stage.DECODING),
        (f"{LOOP};AIOKafkaConnection._read (aiokafka/conn.py)", Stage.PRODUCING),
        (f"{LOOP};StreamReaderProtocol.data_received (asyncio/streams.py)", Stage.PRODUCING),
        (f"{LOOP};Fetcher._proc (aiokafka/consumer/fetcher.py);send (aiokafka/conn.py)", Stage.PRICES),
        (f"{LOOP};uv__read (stream.c);data_received (protocol.c);PyObject_Call (loop.c)", Stage.STORE),
        (f"{LOOP};RequestResponseCycle.run_asgi (uvicorn/protocols/http/httptools_impl.py);app (fastapi/routing.py)",
         Stage.HTTP),
        (f"{LOOP};app (fastapi/routing.py);place (services/gateway/api/orders.py);send (libs/common/runtime.py);"
         "AIOKafkaProducer.send (aiokafka/producer/producer.py)", Stage.PRODUCING),
        (f"{BATCH};committed (services/gateway/streams.py);Hub.tell (services/gateway/memory/hub.py)", Stage.HTTP),
        (f"{BATCH};Histogram.observe (prometheus_client/metrics.py)", Stage.METRICS),
        (f"{LOOP};uv__io_poll (linux.c)", Stage.LOOP),
    ],
)  # fmt: skip
def test_a_sample_counts_for_the_innermost_stage_that_its_frames_tell(stack: str, stage: Stage) -> None:
    assert fold(parse([f"{stack} 3"])).stages == Counter({stage: 3})


def test_a_wait_for_a_core_and_other_threads_are_no_cpu_of_the_loop() -> None:
    found = fold(
        parse([f"{LOOP};epoll_pwait (libc.so.6) 40", "_worker (concurrent/futures/thread.py) 7", f"{GATHER} 2"])
    )
    assert (found.waiting, found.samples, found.stages.total()) == (40, 2, 2)


def test_a_nameless_address_counts_for_the_function_that_called_it() -> None:
    functions = fold(parse([f"{HANDLER};0x7f86 (libc.so.6) 5"])).functions
    assert [(stage, frame.function, n) for (stage, frame), n in functions.items()] == [(Stage.HANDLERS, "place", 5)]


def test_lines_with_their_numbers_and_files_without_are_understood() -> None:
    [(stack, count)] = parse(["f (a/b.py:12);<genexpr> (<string>);0x7f86 12", ""][:1])
    assert count == 12
    assert [(frame.function, frame.file) for frame in stack] == [
        ("f", "a/b.py"),
        ("<genexpr>", "<string>"),
        ("0x7f86", ""),
    ]


def test_what_is_shared_out_adds_up_and_comes_in_the_order_of_the_road() -> None:
    shares = shared_out(2.0, Counter({Stage.LOOP: 1, Stage.READING: 3}))
    assert list(shares.items()) == [("Kafka: taking records over", 1.5), ("event loop and sockets", 0.5)]
    assert shared_out(2.0, Counter()) == {}


def test_the_threads_of_a_process_share_its_cpu_as_the_kernel_counted_them() -> None:
    used = Used(loop=700.0, kafka=250.0, others=60.0).since(Used(loop=100.0, kafka=50.0, others=60.0))
    shares = used.shared_out(1.6)
    assert (shares.loop, shares.kafka, shares.others) == pytest.approx((1.2, 0.4, 0.0))


def test_a_process_that_mostly_waited_for_a_core_gives_no_profile() -> None:
    """Of 20 s it was seen running 4 s: it used 2.5 s of a core, or only one."""
    assert not Sample(Fold(samples=400), 20, Used(2500.0, 0.0, 0.0)).crowded
    assert Sample(Fold(samples=400), 20, Used(1000.0, 0.0, 0.0)).crowded
