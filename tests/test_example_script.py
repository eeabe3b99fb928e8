"""The plain script for beginners: short, without this package, right, and blind to test until its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_files import write_idx

SCRIPT = Path(__file__).parents[1] / "examples" / "lenet5_mnist.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits, three times as large and framed, as MNIST's four files."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.kron(images.reshape(-1, 8, 8) * 255 / 16, np.ones((3, 3)))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    made = {"x_train": images[:1500], "y_train": labels[:1500], "x_test": images[1500:], "y_test": labels[1500:]}
    return write_idx(tmp_path_factory.mktemp("data") / "mnist", made)


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    arguments = [] if environment else [str(folder)]
    command = [sys.executable, "-W", "error", str(SCRIPT), *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_learns_and_gives_the_same_again(folder: Path, printed: str) -> None:
    *looks, test = printed.splitlines()
    assert [line.partition(":")[0] for line in looks] == [f"epoch {number}, val" for number in range(1, 6)]
    (loss, accuracy) = re.findall(r"^test: loss ([\d.]+), accuracy ([\d.]+) %$", test)[0]
    assert float(loss) < 1
    assert float(accuracy) > 75
    assert run(folder, PARIBUS_DATA=str(folder.parent)).stdout == printed


def test_the_test_set_is_read_when_all_is_trained(folder: Path, printed: str, tmp_path: Path) -> None:
    """Without its files, everything before them is the same."""
    for path in folder.glob("train-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    done = run(tmp_path)
    assert done.returncode != 0
    assert "t10k-images-idx3-ubyte.gz" in done.stderr
    assert done.stdout == "".join(line for line in printed.splitlines(keepends=True) if "val" in line)


def test_it_is_short_and_needs_no_framework() -> None:
    source = SCRIPT.read_text(encoding="utf-8")
    code = [line for line in source.partition('"""\n\n')[2].splitlines() if line]
    assert len(code) <= 60
    imported = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
    assert set(imported) == {"gzip", "os", "sys", "pathlib", "torch"}
