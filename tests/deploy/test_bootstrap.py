"""The demo user of a local stack, when the start is broken off."""

import json
import resource
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from deploy.local import bootstrap
from deploy.local.instance import Instance


class Gateway(BaseHTTPRequestHandler):
    """Nobody is known to it; who registers is, and then it is stopped."""

    registered: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/login"):
            self.send_response(503 if self.registered else 401)
        else:
            self.registered.append(body)
            self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


class Here:
    def __init__(self, url: str, home: Path) -> None:
        self.demo_file = home / "demo.json"
        self._url = url

    def url(self, _: str) -> str:
        return self._url

    def port(self, _: str) -> int:
        return int(self._url.rpartition(":")[2])


def test_the_password_of_the_demo_user_is_kept_before_he_is_made(tmp_path: Path) -> None:
    """Stopped in between, nobody had it, and no later start could log in."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = Here(f"http://127.0.0.1:{server.server_port}", tmp_path)
        with pytest.raises(Exception, match="503"):
            bootstrap.demo(cast(Instance, here))
        server.shutdown()
    (person,) = Gateway.registered
    assert json.loads(here.demo_file.read_text())["password"] == person["password"]
    assert stat.S_IMODE(here.demo_file.stat().st_mode) == 0o600


def test_a_login_that_cannot_be_written_leaves_the_one_that_was_kept(tmp_path: Path) -> None:
    """A demo.json that was emptied first had no password, and every later start ended in a traceback."""
    path = tmp_path / "demo.json"
    bootstrap.write_secret(path, {"password": "kept"})
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, unlimited[1]))  # as a full disk would
    try:
        with pytest.raises(OSError, match="too large"):
            bootstrap.write_secret(path, {"password": "lost"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert json.loads(path.read_text()) == {"password": "kept"}
