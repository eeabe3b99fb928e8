"""An experiment as it was designed, and what its verdicts say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paribus.experiment import Arm, Question
from paribus.store import Results
from paribus.web.live import current_verdicts
from paribus.web.memory import Memory
from paribus.web.schema import ArmDesign, Comparison, ExperimentAnswer, FiredCheck, Level, QuestionAnswer
from paribus.wording import setting


def overview(folder: str, results: Results, memory: Memory) -> ExperimentAnswer:
    """Return the experiment with its verdicts, as far as there are any.

    Args:
        folder: The name of the result folder.
        results: The folder.
        memory: Keeps what was read.

    Raises:
        StoreError: If `verdicts.json` is damaged.
    """
    verdicts = current_verdicts(results, memory) or {}
    experiment, measured = results.experiment, verdicts.get("arms", {})
    entries = {entry["id"]: entry for entry in verdicts.get("questions", ())}
    return ExperimentAnswer(
        folder=folder,
        title=experiment.title,
        seeds=list(experiment.seeds),
        margin=experiment.margin,
        arms=[_arm(arm, experiment.baseline(name), measured.get(name)) for name, arm in experiment.arms.items()],
        questions=[_question(question, entries.get(question.id)) for question in experiment.questions],
        checks=[
            FiredCheck.model_validate({key: check[key] for key in FiredCheck.model_fields})
            for check in verdicts.get("checks", ())
            if check["outcome"] == "fired"
        ],
        has_report=(results.folder / "report.html").is_file(),
    )


def _arm(arm: Arm, against: str, measured: Mapping[str, Any] | None) -> ArmDesign:
    accuracy = None
    if measured is not None and measured["test_accuracy"]["mean"] is not None:
        accuracy = Level(mean=measured["test_accuracy"]["mean"], ci95=measured["test_accuracy"]["ci95"])
    return ArmDesign(
        arm=arm.name,
        factors={factor: _value(arm, factor) for factor in arm.factors},
        against=against,
        test_accuracy=accuracy,
        seconds_per_run=measured["seconds_per_run"] if measured is not None else None,
    )


def _value(arm: Arm, factor: str) -> str:
    """The arm's value, with the word that asked for it where it was found."""
    word = setting(arm.factors[factor])
    return f"{setting(arm.found[factor].value)} ({word})" if factor in arm.found else word


def _question(question: Question, entry: Mapping[str, Any] | None) -> QuestionAnswer:
    sweep = (entry or {}).get("sweep") or {}
    return QuestionAnswer(
        id=question.id,
        asks=question.asks,
        kind=question.kind,
        metric=question.metric,
        margin=question.margin,
        arms=list(question.arms),
        best=sweep.get("best"),
        comparisons=[Comparison.model_validate(each) for each in (entry or {}).get("comparisons", ())],
        answer=[each["text"] for each in (entry or {}).get("comment", ()) if each["part"] == "answer"],
    )
