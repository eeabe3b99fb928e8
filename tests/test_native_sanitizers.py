"""The kernels under the compiler's sanitisers, and their memory over 10,000 steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paribus.engines.native import build, library

SOURCE = Path(__file__).parent / "kernels" / "fuzz.cpp"
KERNELS = build.HERE / "kernels"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CHAINS = 60
NAMES = list(build.INSTRUCTIONS)


def compiler() -> list[str]:
    try:
        return build._compiler()
    except build.BuildError as error:
        pytest.skip(str(error))


def compiled(sources: list[str], flags: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*compiler(), "-std=c++17", "-pthread", "-O1", "-g1", *flags, *SANITIZERS, f"-I{KERNELS}", *sources]
    return subprocess.run([*command, "-o", str(folder / "fuzz")], capture_output=True, text=True, check=False)


def sanitized(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what was compiled, with leaks looked for."""
    options = {"ASAN_OPTIONS": "detect_leaks=1:strict_init_order=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    command = [str(folder / "fuzz"), str(CHAINS)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=options, timeout=500)


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip unless faults are found: a program that leaks must be told to."""
    folder = tmp_path_factory.mktemp("teeth")
    leak = folder / "leak.cpp"
    leak.write_text("int main() { for (int i = 0; i < 9; ++i) { int* volatile lost = new int(i); (void)lost; } }")
    done = compiled([str(leak)], (), folder)
    if done.returncode:
        pytest.skip(f"the compiler has no sanitisers: {done.stderr.strip()[-200:]}")
    seen = sanitized(folder)
    if "detected memory leaks" not in seen.stderr:
        pytest.skip(f"leaks cannot be looked for on this machine: {seen.stderr.strip()[-200:]}")


@pytest.mark.slow
@pytest.mark.usefixtures("sanitizers")
@pytest.mark.parametrize("instructions", NAMES)
def test_no_fault_in_random_chains_nor_in_10000_steps(instructions: str, tmp_path: Path) -> None:
    if build.missing() or NAMES.index(instructions) > NAMES.index(library.best()):
        pytest.skip(f"this processor cannot run kernels for {instructions}, or there are none")
    sources = [str(SOURCE), str(KERNELS / "network.cpp")]
    done = compiled(sources, (*build.INSTRUCTIONS[instructions], "-ffp-contract=fast"), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = sanitized(tmp_path)
    assert (seen.returncode, seen.stdout) == (0, ""), seen.stdout + seen.stderr[-3000:]


STEPS = """
import resource, sys
import numpy as np
from paribus.engines.native.chain import Chain, Layer
from paribus.engines.native.library import Optimizer
from paribus.engines.native.network import Batch, Network

chain = Chain((3, 6, 6), (
    Layer("convolution", (3, 6, 6), (3, 3, 1, 1, 1, 1), connections=np.arange(9, dtype=np.int32), weight="c", bias="d"),
    Layer("tanh", (3, 6, 6)),
    Layer("dropout", (3, 6, 6), value=0.1),
    Layer("linear", (4,), weight="w", bias="b"),
))
shapes = {"c": (3, 3, 3, 3), "d": (3,), "w": (4, 108), "b": (4,)}
images = np.random.default_rng(0).normal(size=(40, 3, 6, 6)).astype(np.float32)
labels = np.arange(40) % 4

def work(steps):
    for step in range(1, steps + 1):
        if step % 50 == 1:
            network = Network(chain, shapes, threads=2)
        update = (Optimizer(1, 0, 0, 0, 0.9, 0.99, 0.9, 1e-8), 0.01, step)
        network.step(Batch(images, labels=labels), key=step, update=update)
        network.logits(Batch(images[:5]))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = work(1000)
print(work(10_000) - before, sys.platform)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no resource module")
@pytest.mark.skipif(build.missing() is not None, reason=f"no native engine: {build.missing()}")
def test_memory_does_not_grow_over_10000_steps() -> None:
    """200 networks of 2 threads among them; one lost network would be more than the megabyte that is left for noise."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    grown, platform = done.stdout.split()
    assert int(grown) * (1 if platform == "darwin" else 1024) < 2**20
