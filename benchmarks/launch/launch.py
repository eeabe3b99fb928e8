"""Time `paribus` from outside: help, the first step, one worker against two, and the peak memory of a worker.

help         wall seconds of `paribus --help`
first step   wall seconds from the start of the command until the first epoch begins: until its record is on disk, less
             the epoch's own seconds; MNIST is decoded already, Python's files are in the page cache
workers      wall seconds of the whole command, start-up and report included, for four runs of five epochs of LeNet-5
             on MNIST, with one worker and with two, alternating
memory       the highest VmHWM of a worker during those runs: all resident pages, the shared images included

Linux only, as it reads /proc. Run with: python benchmarks/launch/launch.py --rounds 3
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from paribus.launch import environment

HERE = Path(__file__).parent
EXPERIMENT = """
[experiment]
name = "launch"
seeds = {seeds}
margin = 0.001
[control]
data = {{ name = "mnist", pad = 2, val = 5000 }}
model = {{ name = "lenet5" }}
optim = {{ lr = 0.1 }}
train = {{ epochs = {epochs}, batch_size = 128 }}
"""


def show_help() -> float:
    """Return the seconds of `paribus --help`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "paribus", "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def first_step() -> float:
    """Return the seconds from the command to the start of the first epoch."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = command(Path(folder), EXPERIMENT.format(seeds=1, epochs=1), workers=1)
        record = Path(folder) / "out/runs/control/0/times.jsonl"
        while not (record.exists() and record.read_text(encoding="utf-8").endswith("\n")):
            assert process.poll() is None, "the command ended without a record"
            time.sleep(0.005)
        seconds = time.perf_counter() - start
        process.wait()
        return seconds - float(json.loads(record.read_text(encoding="utf-8"))["seconds"])


def whole_command(workers: int) -> tuple[float, float]:
    """Return the seconds of the command and the peak MiB of its largest worker."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = command(Path(folder), EXPERIMENT.format(seeds=4, epochs=5), workers)
        peak = 0.0
        while process.poll() is None:
            peak = max([peak, *worker_peaks(process.pid)])
            time.sleep(0.1)
        assert process.returncode == 0, "the command failed"
        return time.perf_counter() - start, peak


def command(folder: Path, experiment: str, workers: int) -> subprocess.Popen[bytes]:
    """Start `paribus run` on an experiment file of its own."""
    path = folder / "launch.toml"
    path.write_text(experiment, encoding="utf-8")
    words = ["run", str(path), "--out", str(folder / "out"), "--workers", str(workers)]
    program = [sys.executable, "-m", "paribus", *words]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def worker_peaks(pid: int) -> Iterator[float]:
    """Yield the VmHWM in MiB of each child process; one that ends between two looks has none."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        for child in children:
            status = Path(f"/proc/{child}/status").read_text(encoding="utf-8").splitlines()
            yield from (int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def main() -> None:
    """Measure, then write the rows, the environment and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    first_step()  # Decodes the images and fills the page cache.
    rows: list[dict[str, object]] = []
    for number in range(rounds):
        rows.append({"what": "help", "round": number, "seconds": round(show_help(), 3), "peak_mib": ""})
        rows.append({"what": "first step", "round": number, "seconds": round(first_step(), 3), "peak_mib": ""})
        for workers in (1, 2):
            seconds, peak = whole_command(workers)
            rows.append(
                {"what": f"workers {workers}", "round": number, "seconds": round(seconds, 2), "peak_mib": round(peak)}
            )
        print(*rows[-4:], sep="\n", flush=True)
    with (HERE / "launch.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = environment.describe("torch-1", 2, 1)
    (HERE / "launch.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (HERE / "launch.md").write_text(table(rows, rounds), encoding="utf-8")
    print(table(rows, rounds))


def table(rows: list[dict[str, object]], rounds: int) -> str:
    """Return medians and spread, and the runs per hour of two workers against one."""

    def column(what: str) -> list[float]:
        return [float(str(row["seconds"])) for row in rows if row["what"] == what]

    ratio = statistics.median(one / two for one, two in zip(column("workers 1"), column("workers 2"), strict=True))
    peak = max(int(str(row["peak_mib"])) for row in rows if row["peak_mib"] != "")
    lines = [
        f"`paribus run` on MNIST from outside, seconds, n = {rounds}, alternating. Made by `launch.py`.",
        "",
        "| what | median | min to max |",
        "|---|---|---|",
    ]
    for what in ("help", "first step", "workers 1", "workers 2"):
        seconds = column(what)
        lines.append(f"| {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")
    lines += ["", f"Runs per hour of two workers: {ratio:.2f} times one (median of rounds). ", ""]
    lines += [f"Peak resident memory of a worker, shared images included: {peak} MiB.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
