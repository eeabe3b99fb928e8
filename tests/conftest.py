"""Fixtures for every test: real data or a reason to skip, a cache of the session's own, one thread, no network."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("paribus", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("paribus")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_connect = socket.socket.connect


class NetworkBlockedError(RuntimeError):
    """A test tried to leave the machine; no OSError, which code under test might take for a network that is down."""


def _connect_within_the_machine(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
        raise NetworkBlockedError(f"Tests must not use the network, but one connects to {address!r}.")
    _connect(self, address)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that none of them is left when all others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _connect_within_the_machine)
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what PARIBUS_CACHE names, so that real data is decoded once; without it, cache under pytest's folder."""
    with pytest.MonkeyPatch.context() as patch:
        if "PARIBUS_CACHE" not in os.environ:
            patch.setenv("PARIBUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test of this process cuts the power, and fsync would be most of the time; workers still do it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Make results independent of the cores of the machine; the tests themselves run side by side."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty cache of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PARIBUS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of real data, or skip."""
    for folder in os.environ.get("PARIBUS_DATA", "").split(os.pathsep):
        if folder and Path(folder).is_dir():
            return Path(folder)
    pytest.skip("real data is needed: let PARIBUS_DATA name its folder")
