"""Three Kafka nodes on one machine, to see what the loss of one, or of two, does. Nothing of it is needed to trade."""

import os
import signal
import subprocess
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient

from deploy.local.instance import Instance
from deploy.local.servers import JAVA, KAFKA_CLUSTER, directory, listens, quiet, render
from deploy.local.supervisor import MARK

NODES = (1, 2, 3)
FRUGAL = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
PATIENCE = 60.0


class Cluster:
    """Nodes 1 to 3 below `home`, on six ports beside the instance's own Kafka: brokers, then controllers.

    The instance's `down` ends nodes that somebody left behind, as does the start of its servers: start the nodes after.
    """

    def __init__(self, home: Path, instance: Instance) -> None:
        self._home = home
        self._first_port = instance.port("kafka", 1)
        self._environment = os.environ | {MARK: str(instance.home)}
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{self._port(node)}" for node in NODES)

    def start(self) -> None:
        for node in NODES:
            self.begin(node)
        self.wait(NODES)

    def stop(self) -> None:
        for node in list(self._running):
            self.kill(node)

    def begin(self, node: int) -> None:
        data = directory(self._home / f"node{node}")
        conf = self._configure(node, data)
        if not (data / "meta.properties").exists():
            quiet((*JAVA, *FRUGAL, "kafka.tools.StorageTool", "format", "-t", KAFKA_CLUSTER, "-c", str(conf)))
        with (self._home / f"node{node}.log").open("ab") as log:
            self._running[node] = subprocess.Popen(
                (*JAVA, *FRUGAL, "kafka.Kafka", str(conf)),
                stdout=log,
                stderr=log,
                cwd=data,
                env=self._environment,
                start_new_session=True,
            )

    def kill(self, node: int) -> None:
        """As the machine might: no farewell."""
        process = self._running.pop(node)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)

    def wait(self, nodes: tuple[int, ...]) -> None:
        """Until these are part of the cluster and take requests."""
        deadline = time.monotonic() + PATIENCE
        while not self._are_there(nodes):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Kafka nodes {nodes} did not come up within {PATIENCE:.0f} s: see {self._home}")
            time.sleep(0.2)

    def leader_of(self, topic: str, partition: int) -> int:
        found = self._admin().list_topics(topic, timeout=10).topics[topic].partitions[partition]
        return int(found.leader)

    def _are_there(self, nodes: tuple[int, ...]) -> bool:
        if not all(listens(self._port(node)) for node in nodes):
            return False
        try:
            known = self._admin().list_topics(timeout=2).brokers
        except Exception:  # noqa: BLE001 - librdkafka's, while the controllers still vote
            return False
        return set(nodes) <= set(known)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def _port(self, node: int) -> int:
        return self._first_port + node - 1

    def _controller_port(self, node: int) -> int:
        return self._first_port + len(NODES) + node - 1

    def _configure(self, node: int, data: Path) -> Path:
        return render(
            "cluster-node.properties",
            self._home / f"node{node}.properties",
            node=node,
            voters=",".join(f"{each}@127.0.0.1:{self._controller_port(each)}" for each in NODES),
            port=self._port(node),
            controller_port=self._controller_port(node),
            data=data,
        )
