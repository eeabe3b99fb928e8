"""The suite that every launcher passes; a launcher's author calls `check_launcher` in a test."""

from __future__ import annotations

from collections.abc import Sequence

from paribus.launch.launcher import EpochDone, Launcher, Pack, RunDone
from paribus.store import Results


def check_launcher(launcher: Launcher, packs: Sequence[Pack], results: Results) -> None:
    """Launch packs that can be trained, and see that the news and the store agree.

    Args:
        launcher: The launcher to be checked.
        packs: At least two packs that have not been trained.
        results: The folder that they are trained into.

    Raises:
        AssertionError: Naming the promise that does not hold.
    """
    specs = [spec for pack in packs for spec in pack.specs]
    assert all(results.state(spec) == "missing" for spec in specs), "the suite needs runs that are not trained yet"
    news = list(launcher.launch(packs, results))
    for spec in specs:
        own = [each for each in news if each.spec == spec]
        epochs = [each.epoch for each in own if isinstance(each, EpochDone)]
        assert epochs == list(range(1, len(epochs) + 1)), f"{spec.arm}/{spec.seed}: epochs must come in order"
        assert own and isinstance(own[-1], RunDone), f"{spec.arm}/{spec.seed}: the last news must be RunDone"
        assert results.state(spec) == "finished", f"{spec.arm}/{spec.seed}: the store must hold the result"
