"""`paribus serve`: telling where the page is, and opening it."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from threading import Thread

import typer


def announcing(opens: bool) -> Callable[[str], None]:
    """Return what prints the address of the page and, where asked for, opens it in the browser."""

    def announce(address: str) -> None:
        typer.echo(f"paribus serves {address}  (Ctrl-C ends it)")
        if opens:
            # A browser of the terminal blocks until it is left, and the server must answer it meanwhile.
            Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    return announce
