"""Look up what a sentence quotes, by the rules of docs/results-format.md alone, and match its numbers with that."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from paribus import wording
from paribus.experiment import Experiment
from paribus.stats import t_interval
from paribus.store import LayerProbe, Probes, Results, Run

NUMBER = re.compile(r"[+\u2212]?\d[\d,]*(?:\.\d+)?(?:e-\d+)?")
FRACTIONS = re.compile(r"accuracy|difference|ci95|margin|gap|class|minus|beyond|probes\.(?!gradient)")
FIXED = {  # What a key itself says in numbers.
    "probes.lost_to_shift_1": "by 1 pixel",
    "probes.lost_to_shift_2": "by 2 pixels",
    "probes.lost_to_rotation_10": "by 10 degrees",
}


def resolve(item: Mapping[str, Any], results: Results, entry: Mapping[str, Any]) -> Any:
    """Return the value that an evidence item should have."""
    name, _, seed = item["run"].partition("/")
    if seed:
        run = next(run for run in results.runs(name) if run.result.seed == int(seed))
        return of_run(run, item["key"])
    return of_arm(name, item["key"], results, entry)


def of_arm(name: str, key: str, results: Results, entry: Mapping[str, Any]) -> Any:
    table, _, rest = key.partition(".")
    if key.startswith("decades="):
        low, high = (float(end) for end in key.partition("=")[2].split(".."))
        rates = [each["lr"] for each in found(results, name)["tried"]]
        assert low in rates and high in rates
        return math.log10(high / low)
    if table == "rate_ratio":
        return found(results, name)["lr"] / found(results, rest)["lr"]
    if key.startswith("decades_from="):
        value = results.experiment.arms[name].recipe.factor(entry["sweep"]["factor"])
        return math.log10(float(str(value)) / float(key.partition("=")[2]))
    if table == "mean":
        column, what = rest.split(".")
        curve = {epoch: np.mean(values) for epoch, values in columns(results, name, column, entry).items()}
        pick = min if what == "lowest_at" else max
        return pick(curve, key=lambda epoch: (curve[epoch], -epoch if pick is max else epoch))
    if table in ("minus", "beyond"):
        return over_seeds(name, rest.split("."), results, 1 if table == "minus" else 2)
    place: Any = {
        "comparison": next((each for each in entry["comparisons"] if each["arm"] == name), {}),
        "sweep": next((row for row in (entry["sweep"] or {}).get("values", []) if row["arm"] == name), {}),
        "question": entry,
        "tuning": stored(results, f"tuning/{name}.json"),
        "range": stored(results, f"ranges/{name}.json"),
    }.get(table)
    if place is None:
        return results.experiment.arms[name].recipe.factor(key)
    for part in rest.split("."):
        place = place[int(part)] if part.isdigit() else place[part]
    return place


def stored(results: Results, file: str) -> Any:
    """A JSON file of the folder, nothing where it has none of that name."""
    path = results.folder / file
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def found(results: Results, name: str) -> Any:
    return stored(results, f"tuning/{name}.json")["rate"]


def columns(results: Results, name: str, column: str, entry: Mapping[str, Any]) -> dict[int, list[float]]:
    """A figure of `epochs.jsonl` by epoch, of the seeds that the arm and its baseline have, to the shortest run."""
    baseline = next(each["control"] for each in entry["comparisons"] if each["arm"] == name)
    common = {run.result.seed for run in results.runs(baseline)}
    runs = [run for run in results.runs(name) if run.result.seed in common]
    shortest = min(len(run.epochs) for run in runs)
    return {epoch: [getattr(run.epochs[epoch - 1], column) for run in runs] for epoch in range(1, shortest + 1)}


def over_seeds(name: str, rest: Sequence[str], results: Results, others: int) -> float:
    """Arm minus baseline, or what an arm adds to the sum of its parts: the mean over seeds, or an interval's end."""
    text = ".".join(rest)
    arms = sorted(results.experiment.arms, key=len, reverse=True)
    names = []
    for _ in range(others):
        names.append(next(arm for arm in arms if text.startswith(f"{arm}.")))
        text = text.removeprefix(f"{names[-1]}.")
    metric, _, what = text.partition(".")
    wanted = [name, *names] + (["control"] if others > 1 else [])
    figures = {arm: {run.result.seed: getattr(run.result, metric) for run in results.runs(arm)} for arm in wanted}
    seeds = [seed for seed in figures[name] if all(seed in figures[arm] for arm in wanted)]
    signs = (1, -1, -1, 1)
    values = [sum(sign * figures[arm][seed] for sign, arm in zip(signs, wanted, strict=False)) for seed in seeds]
    if what == "mean":
        return float(np.mean(values))
    ends = t_interval(values)
    assert ends is not None
    return ends[int(what.partition(".")[2])]


def of_run(run: Run, key: str) -> Any:
    table, _, rest = key.partition(".")
    if table == "class":
        found = run.predictions()
        return float(found.correct[found.labels == int(rest)].mean())
    if table == "gap":
        kept = next(record for record in run.epochs if record.epoch == run.result.epoch_kept)
        return kept.train_accuracy - (kept.val_accuracy or 0.0)
    if table == "gradient_ratio":
        norms = list((run.epochs[-1].layer_gradient_norms or {}).values())
        return norms[0] / norms[-1]
    if table == "probes":
        return of_probes(run, rest)
    if table != "epochs":
        return getattr(run.result, key)
    column, _, what = rest.partition(".")
    figures = {each.epoch: getattr(each, column) for each in run.epochs if getattr(each, column) is not None}
    if what == "last":
        return figures[max(figures)]
    name, _, number = what.partition("=")
    if name == "at":
        return figures[int(number)]
    first = min((epoch for epoch, value in figures.items() if value >= float(number)), default=None)
    if first is None:
        return None
    return {
        "first_at>": first,
        "steps_at>": next(each.steps for each in run.epochs if each.epoch == first),
        "seconds_at>": sum(run.epoch_seconds[:first]),
    }[name]


def of_probes(run: Run, what: str) -> float:
    probes = json.loads((run.folder / "probes.json").read_text(encoding="utf-8"))
    if what.startswith("lost_to_"):
        other = {"lost_to_shift_1": "shifted_1", "lost_to_shift_2": "shifted_2", "lost_to_rotation_10": "rotated_10"}
        return float(probes["accuracy"] - probes[f"accuracy_{other[what]}"])
    norms, layers = list(probes["gradient_norms_at_start"].values()), probes["layers"]
    with_floor = [layer for layer in layers if layer["dead"] is not None]
    return float(
        {
            "overconfidence": lambda: probes["confidence"] - probes["accuracy"],
            "calibration_error": lambda: probes["calibration_error"],
            "gradient_ratio_at_start": lambda: norms[0] / norms[-1],
            "dead": lambda: sum(each["dead"] for each in with_floor) / sum(each["units"] for each in with_floor),
            "saturated": lambda: max(each["saturated"] for each in layers if each["saturated"] is not None),
        }[what]()
    )


def unexplained(sentence: Mapping[str, Any]) -> list[str]:
    """Return the numbers of a sentence, outside code, that its evidence does not give."""
    evidence = sentence["evidence"]
    text = without_durations(re.sub(r"`[^`]*`", "", sentence["text"]), evidence)
    text = text.replace("95 % interval", "").replace("Diverged runs", "").replace(wording.NONE_WOULD, "")
    for key, words in FIXED.items():
        text = text.replace(words, "") if any(item["key"] == key for item in evidence) else text
    if "below 0.001" in text:
        assert any(item["key"] == "comparison.p_holm" and item["value"] < 0.001 for item in evidence)
        text = text.replace("below 0.001", "")
    return [number for number in NUMBER.findall(text) if not explained(number, evidence)]


def without_durations(text: str, evidence: Sequence[Mapping[str, Any]]) -> str:
    """A sentence short of the durations that are the medians of the seconds it quotes, or in old verdicts the means."""
    for (_, key), values in grouped(evidence).items():
        if "seconds" in key and None not in values:
            for middle in (np.median(values), np.mean(values)):
                text = re.sub(rf"(?<![\d.]){re.escape(wording.duration(float(middle)))}(?!\d)", "", text)
    return text


def grouped(evidence: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Any]]:
    """Quoted values by arm and key."""
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for item in evidence:
        groups[item["run"].partition("/")[0], item["key"]].append(item["value"])
    return groups


def explained(number: str, evidence: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a printed number is a quoted value, a mean of them over an arm's runs, or a count of them."""
    printed, decimals = float(number.replace(",", "").replace("\u2212", "-")), len(number.partition(".")[2])
    if "e-" in number:
        return any(math.isclose(printed, each, rel_tol=1e-6) for each in candidates(evidence))
    is_rounded = decimals > 0 or abs(printed) >= 100  # Smaller whole numbers are written where they are exact.
    slack = 1e-9 + (0.5 * 10**-decimals if is_rounded else 0)
    return any(abs(printed - each) <= slack for each in candidates(evidence))


def candidates(evidence: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    groups = grouped(evidence)
    counted: dict[str, int] = defaultdict(int)
    for item in evidence:
        counted[item["key"]] += 1
    yield from counted.values()
    listed = [(item["run"], re.sub(r"\.\d+", ".*", item["key"])) for item in evidence]
    yield from map(listed.count, set(listed))
    for (_, key), values in groups.items():
        yield len(values)
        yield values.count("diverged")
        known = [float(value) for value in values if type(value) in (int, float)]
        if not known:
            continue
        mean = float(np.mean(known))
        yield from (*known, mean)
        if FRACTIONS.search(key):
            yield from (100 * value for value in (*known, mean))
        if "ratio" in key:
            yield float(f"{mean:.2g}")
        if key.endswith("_needed"):  # Of seeds or images; all that is said is about how many.
            yield from (math.ceil(value / (step := 10 ** max(0, len(f"{value:.0f}") - 2))) * step for value in known)
        if ">=" in key:
            yield 100 * float(key.partition(">=")[2])


def write_probes(run: Run, **changes: Any) -> None:
    """Give a stored run made-up probes, as an engine would."""
    probes = dataclasses.replace(PROBES, **changes)
    (run.folder / "probes.json").write_text(json.dumps(dataclasses.asdict(probes)), encoding="utf-8")


def write_layer_norms(run: Run, first: float, last: float) -> None:
    """Give every epoch of a stored run gradient norms of two layers."""
    path = run.folder / "epochs.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    norms = {"layer_gradient_norms": {"features.0": first, "classifier": last}}
    path.write_text("".join(json.dumps(line | norms) + "\n" for line in lines), encoding="utf-8")


def layers_of(experiment: Experiment, arm: str, share: float) -> tuple[LayerProbe, ...]:
    """Two layers of the arm's activation: dead units where it has a floor, saturated values where it has bounds."""
    function = experiment.arms[arm].recipe.model.options.get("activation", "relu")
    if function == "relu":
        return tuple(LayerProbe(f"layer{i}", function, 40, round(40 * share), None) for i in range(2))
    return tuple(LayerProbe(f"layer{i}", function, 40, None, share / (1 + i)) for i in range(2))


PROBES = Probes(
    images=200,
    accuracy=0.95,
    confidence=0.96,
    calibration_error=0.02,
    accuracy_shifted_1=0.9,
    accuracy_shifted_2=0.7,
    accuracy_rotated_10=0.92,
    layers=(),
    gradient_norms_at_start={"features.0": 0.2, "classifier": 1.0},
)
