"""`paribus serve`: the extra is there, the port is free, and the server runs until it is interrupted."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from paribus.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

DEFAULT_PORT = 8765
_NEEDED = ("fastapi", "uvicorn", "plotly", "multipart")
_PATIENCE_S = 2


def serve(folder: Path, host: str, port: int | None, announce: Callable[[str], None]) -> None:
    """Serve a result folder, or a folder of them, until Ctrl-C.

    Args:
        folder: What `paribus run` wrote, or the folder around it.
        host: The address to listen at; 127.0.0.1 is for this machine only.
        port: 0 takes any free one; None takes `DEFAULT_PORT`, or any free one where that is taken.
        announce: Called with the page's address once a browser may open it.

    Raises:
        ConfigError: If the extra `web` is missing, or host and port cannot be listened at.
        StoreError: If the folder is not there.
    """
    require_extra()
    import uvicorn

    from paribus.web.app import create_app
    from paribus.web.security import LOCAL_HOSTS

    app = create_app(folder, (host,), any_address=host not in LOCAL_HOSTS)
    with listen(host, port) as listener:
        announce(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
        try:
            uvicorn.Server(configuration(app)).run(sockets=[listener])
        except KeyboardInterrupt:  # How a server ends.
            return


def configuration(app: FastAPI) -> uvicorn.Config:
    """Return how the application is served: plain HTTP/1.1 with short headers, and no more said than needed."""
    import uvicorn

    from paribus.web.security import MOST_HEADER_BYTES

    return uvicorn.Config(
        app,
        http="h11",
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_PATIENCE_S,
    )


def require_extra() -> None:
    """Refuse to go on without the packages of the extra `web`.

    Raises:
        ConfigError: With the line that installs them.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"`paribus serve` needs the extra `web`, but `{missing[0]}` is not installed. Install it: "
            "pip install 'paribus[web]'"
        )


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: An address or a name of this machine.
        port: As `serve` takes it.

    Raises:
        ConfigError: If that cannot be.
    """
    try:
        return _listener(host, DEFAULT_PORT if port is None else port)
    except OSError as error:
        if port is None and not isinstance(error, socket.gaierror):
            return listen(host, 0)
        raise ConfigError(
            f"--host and --port must be an address of this machine and a free port, but `{host}` and {port or 0} "
            f"cannot be listened at: {error.strerror}. Leave both out to take a free port for this machine only."
        ) from None


def _listener(host: str, port: int) -> socket.socket:
    family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(place[:2], family=family, backlog=512)
