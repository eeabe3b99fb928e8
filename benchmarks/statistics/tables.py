"""Write statistics.md from the rows that simulate.py and aa.py left.

Run with: python benchmarks/statistics/tables.py
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
FEW_ERRORS = 10
Row = dict[str, str]


def rows(name: str) -> list[Row]:
    with (HERE / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def errors(row: Row) -> float:
    """Wrong answers to expect of one run of the control."""
    return int(row["images"]) * (1 - float(row["accuracy"]))


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in body)]) + "\n"


def share(value: float) -> str:
    return f"{100 * value:.1f}"


def spread(values: Sequence[float]) -> str:
    return f"{share(min(values))} to {share(max(values))}" if values else "-"


def by_size(found: Sequence[Row], key: str) -> str:
    """Lowest and highest value of a column, over accuracies and kinds, by seeds (rows) and images (columns)."""
    images = sorted({int(row["images"]) for row in found})
    body = []
    for seeds in sorted({int(row["seeds"]) for row in found}):
        of_seeds = [row for row in found if int(row["seeds"]) == seeds]
        cells = [spread([float(r[key]) for r in of_seeds if int(r["images"]) == count]) for count in images]
        body.append([str(seeds), *cells])
    return table(["seeds", *(f"{count:,} images" for count in images)], body)


def by_seeds(found: Sequence[Row], columns: dict[str, Callable[[Sequence[Row]], str]]) -> str:
    groups = {n: [row for row in found if int(row["seeds"]) == n] for n in sorted({int(row["seeds"]) for row in found})}
    return table(["seeds", *columns], [[str(n), *(make(of) for make in columns.values())] for n, of in groups.items()])


def coverage() -> str:
    every = rows("coverage")
    usual = [row for row in every if errors(row) >= FEW_ERRORS]
    inside = [row for row in usual if 0.93 <= float(row["coverage"]) <= 0.97]
    below = [row for row in usual if float(row["coverage"]) < 0.93]
    few = [row for row in every if errors(row) < FEW_ERRORS]
    names = ["seeds", "images", "accuracy", "kind"]
    listed = [[*(row[name] for name in names), share(float(row["coverage"]))] for row in below]
    text = (
        f"Of {len(usual)} cases with at least {FEW_ERRORS} wrong answers per run ({usual[0]['repeats']} experiments a "
    )
    text += f"case, half as many with 10,000 images) {len(inside)} lie within 93 to 97 %, {len(below)} below and "
    text += f"{len(usual) - len(inside) - len(below)} above, mostly where an interval has its least width "
    text += "([why](../../docs/decisions/new-data.md)). Lowest to highest, %:\n\n"
    text += by_size(usual, "coverage")
    if listed:
        text += "\nBelow:\n\n" + table([*names, "coverage, %"], listed)
    none = max(float(row["no_interval"]) for row in every)
    text += (
        f"\nWith fewer than {FEW_ERRORS} wrong answers per run too few images differ, and an interval is wide: never "
        f"narrower than what no difference on so many images would leave. Experiments without an interval: at most "
        f"{share(none)} % of a case.\n\n"
    )
    return text + by_size(few, "coverage")


def rare() -> str:
    found = rows("rare")
    columns = {
        "interval holds the truth, %": lambda of: spread([float(row["coverage"]) for row in of]),
        "wrongly equivalent, %": lambda of: spread([float(row["equivalent"]) for row in of]),
    }
    return by_seeds(found, columns)


def differences() -> str:
    found = rows("differences")

    def highest(key: str) -> Callable[[Sequence[Row]], str]:
        return lambda of: spread([float(row[key]) for row in of])

    repeats = int(found[0]["repeats"])
    noise = 1.96 * (0.05 * 0.95 / repeats) ** 0.5
    text = f"\nOf {repeats} experiments a case, a true 5 % shows as {share(0.05 - noise)} to {share(0.05 + noise)} %.\n"
    return by_seeds(found, {"paribus, %": highest("any"), "Satterthwaite, %": highest("any_satterthwaite")}) + text


def equivalence() -> str:
    found = rows("equivalence")
    usual, few = ([r for r in found if (errors(r) >= FEW_ERRORS) == is_usual] for is_usual in (True, False))
    columns = {"wrongly equivalent, %": lambda of: spread([float(row["equivalent"]) for row in of])}
    worst = max(float(row["equivalent"]) for row in few)
    return by_seeds(usual, columns) + f"\nWith fewer than {FEW_ERRORS} wrong answers per run: up to {share(worst)} %.\n"


def power() -> str:
    found = [row for row in rows("power") if row["found"]]
    columns = {
        "cases": lambda of: str(len(of)),
        "found, %": lambda of: spread([float(row["found"]) for row in of]),
    }
    return by_seeds(found, columns)


def aa() -> str:
    body = []
    found = rows("aa")
    for comparisons, seeds in dict.fromkeys((row["comparisons"], row["seeds"]) for row in found):
        of = [row for row in found if (row["comparisons"], row["seeds"]) == (comparisons, seeds)]
        false = sum(int(row["better"]) + int(row["worse"]) > 0 for row in of)
        equal = sum(int(row["equivalent"]) for row in of) / (len(of) * int(comparisons))
        body.append([comparisons, seeds, str(len(of)), str(false), share(equal)])
    return table(
        ["comparisons", "seeds", "experiments", "with any better or worse", "equivalent, % of comparisons"], body
    )


PAGE = """# What verdicts promise, measured

Simulated experiments with known truth: 3 to 20 seeds, 50 to 10,000 test images, accuracies from 60 to 99.9 %; seeds
differ not at all, independently, together with the control's, or very much. Made by `simulate.py`, `aa.py` and
`tables.py`; one row per case in the csv files.

## A 95 % interval on new images holds the truth in at least 93 % of experiments
{coverage}
## With no true difference and seven comparisons, at most 5 % of experiments show any better or worse
Share of experiments, lowest to highest case. Beside it what Satterthwaite's degrees of freedom would give
([why not](../../docs/decisions/new-data.md)).

{differences}
## Equivalence is wrongly declared in at most 5 %
The true difference is the margin itself, the hardest case.

{equivalence}
## Nor where a rare kind of image, which may be absent, makes the difference
The arm alone gets it wrong; 1, 2 or 3 such images are to be expected among 100, 300 or 2,000, and runs are otherwise
nearly alike. The true difference is the margin itself.

{rare}
## A difference is found as often as promised
The true difference is the one for which 80 % was promised at the level that Holm asks for seven comparisons, where any
below the control's error is. A difference that makes errors rarer makes them vary less, so that it is found more often.

{power}
## A against A on real training
Experiments on scikit-learn's digits whose arms are the control again, with seeds of their own: every better or worse is
false.

{aa}"""


def main() -> None:
    text = PAGE.format(
        coverage=coverage(), differences=differences(), equivalence=equivalence(), rare=rare(), power=power(), aa=aa()
    )
    (HERE / "statistics.md").write_text(text)


if __name__ == "__main__":
    main()
