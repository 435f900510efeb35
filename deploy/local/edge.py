"""The edge of a machine: one address for every gateway and every instance of signals. docs/decisions/0014-edge.md"""

import shutil
from pathlib import Path

from deploy.local.instance import MOST_REPLICAS, Instance
from deploy.local.servers import Program, render


def edge(instance: Instance) -> Program:
    """HAProxy, which knows every place where a replica may stand and asks each whether it is ready."""
    conf = render(
        "haproxy.cfg",
        instance.conf / "haproxy.cfg",
        edge_port=instance.port("edge"),
        gateways=places(instance, "gateway"),
        signals=places(instance, "signals"),
    )
    return Program("edge", (str(binary()), "-db", "-f", str(conf)), instance.home)


def binary() -> Path:
    """Debian keeps it off the path of ordinary users."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit("no HAProxy found: run deploy/local/install.sh")
    return Path(found)


def places(instance: Instance, service: str) -> str:
    ports = [instance.port(service, number) for number in range(MOST_REPLICAS)]
    return "\n".join(f"    server {service}-{number} 127.0.0.1:{port}" for number, port in enumerate(ports))
