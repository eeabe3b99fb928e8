"""A server of `paribus serve` in a thread of the test's process, and requests as bytes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from paribus.web.app import create_app
from paribus.web.server import configuration, listen


@dataclass(frozen=True)
class Reply:
    """What came back: the status, the headers by lower-case name, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence of a refusal."""
        content = self.json
        assert list(content) == ["error"]
        return str(content["error"])


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, headers)

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Reply:
        """Send a request; of `headers`, those named here replace the usual ones, and `_` stands for `-`."""
        named = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        named |= {key.replace("_", "-"): value for key, value in (headers or {}).items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in named.items())]
        return self.raw("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)

    def raw(self, content: bytes) -> Reply:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(content)
            received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in rest)
        return Reply(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


@contextmanager
def serving(folder: Path, app: FastAPI | None = None) -> Iterator[Address]:
    """Serve a folder at a free port until the block is left."""
    server = uvicorn.Server(configuration(app or create_app(folder)))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Address(listener.getsockname()[1])
        server.should_exit = True
        thread.join(timeout=10)
