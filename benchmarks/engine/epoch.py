"""Time an epoch of LeNet-5 on MNIST by every way we know, alternating in one session, and write a row per epoch.

native                this package's compiled engine
torch                 this package's torch engine
tuned                 a hand-written torch loop over tensors in memory; also with channels last
tutorial              DataLoader over PIL images with ToTensor and Normalize, as most tutorials have it
keras-jax, keras-torch, jax, jax-channels-first, lightning, skorch
                      each at the best settings that we found (see `peer_*.py`); their versions are in peers.txt

Inside the clock: a new order, batches, forward, backward, update, over all training images; for this package's engines
normalising bytes and their records as well. Outside: reading files, building the model, normalising for the others,
compiling, one warm-up epoch of each. Every way has a process of its own, bound to as many processors as it has threads.
An epoch after the warm-up must show a mean training loss below 0.6, so that nobody is timed for doing nothing.
Run with: python benchmarks/engine/epoch.py --rounds 5
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any

from lenet import NETS
from rows import median_of_ratios, spread, write_rows
from worker import NEEDS, WAYS, Worker, crew, missing, processors

from paribus import data
from paribus.config import DataConfig
from paribus.launch import environment

HERE = Path(__file__).parent
ALL_IMAGES = 60_000
LEARNED = 0.6
BATCH_SIZES = (128, 512)
Row = dict[str, Any]


def main() -> None:
    """Measure, then write the rows, the environment and the table."""
    options = parsed()
    prepared = data.prepare(DataConfig(name="mnist", pad=2), options.data_dir)
    left_out = [way for way in WAYS if way not in options.ways]
    rows: list[Row] = []
    for threads in options.threads:
        ways = {way: (way, processors()[:threads]) for way in options.ways}
        with crew(ways, prepared.folder, options.images) as workers:
            for net, batch_size in itertools.product(NETS, options.batch_sizes):
                rows += measured(workers, {"net": net, "batch_size": batch_size, "threads": threads}, options)
    write_rows(options.out / "epoch.csv", rows)
    about = environment.describe("native", 1, max(options.threads)) | {
        "peers": {name: metadata.version(name) for way in options.ways for name in NEEDS.get(way, ())},
        "images": options.images,
    }
    (options.out / "epoch.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    text = table(rows, left_out, options.images)
    (options.out / "epoch.md").write_text(text, encoding="utf-8")
    print(text)


def parsed() -> argparse.Namespace:
    """Read the options; `ways` gets `native`, and without a wish every way whose package is installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--images", type=int, default=ALL_IMAGES, help="fewer, for a trial of this script")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    if max(options.threads) > len(processors()):
        parser.error(f"--threads {max(options.threads)} needs as many processors, but there are {len(processors())}.")
    if options.ways is None:
        options.ways = [way for way in WAYS if missing(way) is None]
    absent = [way for way in options.ways if missing(way)]
    if absent:
        parser.error(f"{', '.join(absent)}: not installed. Run: python -m pip install -r benchmarks/engine/peers.txt")
    options.ways = list(dict.fromkeys(["native", *options.ways]))
    return options


def measured(workers: dict[str, Worker], setting: Row, options: argparse.Namespace) -> list[Row]:
    """Warm every way up, then time them in turn."""
    for worker in workers.values():
        worker.build(setting["net"], setting["batch_size"])
    rows = []
    for number, (way, worker) in itertools.product(range(options.rounds), workers.items()):
        row = setting | {"way": way, "round": number} | row_of(worker.epoch(), options.images)
        require_work(row, options.images)
        rows.append(row)
        print(row, flush=True)
    return rows


def row_of(found: dict[str, float], images: int) -> Row:
    """Return what is kept of one epoch; `cores` is how many processors were busy on average."""
    seconds = found["seconds"]
    return {
        "seconds": round(seconds, 4),
        "images_per_second": round(images / seconds),
        "cores": round(found["processor_seconds"] / seconds, 2),
        "loss": round(found["loss"], 4),
    }


def require_work(row: Row, images: int) -> None:
    """Raise unless the epoch used its threads only and, over all images, has learned something."""
    if row["cores"] > row["threads"] * 1.05:
        raise RuntimeError(f"`{row['way']}` kept {row['cores']} processors busy; {row['threads']} is what it may use.")
    if images == ALL_IMAGES and not row["loss"] < LEARNED:
        raise RuntimeError(f"`{row['way']}` has a training loss of {row['loss']}; below {LEARNED} is learning.")


def table(rows: list[Row], left_out: list[str], images: int) -> str:
    """Return medians, spread, and the ratio to native round by round, for each setting."""
    rounds = len({row["round"] for row in rows})
    lines = [f"An epoch of LeNet-5 on MNIST ({images:,} images), n = {rounds}, alternating. Made by `epoch.py`."]
    lines += ["Times native: the median over rounds of the ratio of seconds.", ""]
    if left_out:
        lines += [f"Left out: {', '.join(left_out)}.", ""]
    settings = dict.fromkeys((row["net"], row["batch_size"], row["threads"]) for row in rows)
    for net, batch_size, threads in settings:
        chosen = [r for r in rows if (r["net"], r["batch_size"], r["threads"]) == (net, batch_size, threads)]
        lines += [f"## {net}, batch {batch_size}, {threads} {'thread' if threads == 1 else 'threads'}", ""]
        lines += setting_table(chosen)
    return "\n".join(lines).rstrip() + "\n"


def setting_table(rows: list[Row]) -> list[str]:
    """Return the table of one setting, and the fastest of the others in a line below it."""
    lines = ["| way | seconds, median | min to max | images per second | cores busy | times native |"]
    lines.append("|---|---|---|---|---|---|")
    by_way: dict[str, list[Row]] = {}
    for row in rows:
        by_way.setdefault(row["way"], []).append(row)
    native = [row["seconds"] for row in by_way["native"]]
    ratios = {}
    for way, each in by_way.items():
        seconds = [row["seconds"] for row in each]
        ratios[way] = median_of_ratios(seconds, native)
        speed, cores = (statistics.median(row[key] for row in each) for key in ("images_per_second", "cores"))
        middle = f"{statistics.median(seconds):.2f} | {spread(seconds)} | {speed:,.0f} | {cores:.2f}"
        lines.append(f"| {way} | {middle} | {ratios[way]:.2f} |")
    others = {way: ratio for way, ratio in ratios.items() if way != "native"}
    if others:
        fastest = min(others, key=others.__getitem__)
        lines += ["", f"Fastest of the others: {fastest}, {others[fastest]:.2f} times native."]
    return [*lines, ""]


if __name__ == "__main__":
    main()
