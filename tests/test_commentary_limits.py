"""What is said of how far an answer reaches."""

from __future__ import annotations

from pathlib import Path

from paribus import arms, verdicts
from paribus.commentary import Material, comment
from paribus.experiment import Experiment
from paribus.testing.synthetic import write_results
from test_commentary import TOML, texts_of, write


def test_limits_of_a_batch_size_question_are_said_however_many_arms_it_has(tmp_path: Path) -> None:
    limits = texts_of(write(tmp_path / "result", 3, {"control": 0.9}), "batch", "limits")
    assert "The comparisons of `b256` and `b512` hold at the shared learning rate of 0.1 only." in limits
    assert "No arm with the batch size of `b256` and `b512` makes as many updates as the control." in limits
    # Of what another question does with the same arm, nothing is said here.
    held = """
arms.b512-long = { "train.batch_size" = 512, "train.epochs" = 16 }
arms.b512-own = { "train.batch_size" = 512, "optim.lr" = 0.2 }
together = [["train.batch_size", "train.epochs"], ["train.batch_size", "optim.lr"]]
[[question]]
id = "again"
asks = "Again?"
metric = "test_loss"
arms.b512 = { "train.batch_size" = 512 }
"""
    text = TOML.replace('arms.b512 = { "train.batch_size" = 512 }', f'arms.b512 = {{ "train.batch_size" = 512 }}{held}')
    both = write_results(tmp_path / "both", Experiment.parse(text.replace("@seeds", "3")), {"control": 0.9})
    assert "The comparison of `b256` holds at the shared learning rate of 0.1 only." in texts_of(
        both, "batch", "limits"
    )
    assert "No arm with the batch size of `b256` makes as many updates as the control." in texts_of(both, "batch")
    assert "No arm with the batch size of `b512` makes as many updates as the control." in texts_of(both, "again")
    missing = [("b256", seed) for seed in range(3)]
    texts = texts_of(write(tmp_path / "gaps", 3, {"control": 0.9}, missing=missing), "batch")
    assert "The comparison of `b512` holds at the shared learning rate of 0.1 only." in texts


def test_diverged_runs_are_told(tmp_path: Path) -> None:
    diverged = [("lr-1", 0), ("lr-1", 1)]
    texts = texts_of(write(tmp_path / "result", 3, {"control": 0.9}, diverged=diverged), "rate", "limits")
    assert "2 of 3 runs of `lr-1` diverged and count as they are." in texts


def test_what_other_seeds_would_agree_about_is_a_limit(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 4, {"control": 0.9})
    content, stored = verdicts.compute(results), arms.load(results)
    entry = dict(content["questions"][0])
    cases = (
        ([0.001, 0.02], 0.02, True),
        ([-0.02, -0.001], 0.05, True),
        ([0.001, 0.02], 0.125, False),  # The least that the exact test over four seeds can give.
        ([-0.001, 0.02], 0.25, False),
        (None, None, False),
    )
    for ends, p, is_said in cases:
        found = {"verdict": "undecided", "ci95_this_test_set": ends, "p_this_test_set": p}
        entry["comparisons"] = [entry["comparisons"][0] | found]
        entry["comparisons"][0]["ci95"] = [-0.01, 0.03]
        sentences = comment(Material(results.experiment.questions[0], entry, results.experiment, stored, []))
        assert any("other seeds would probably agree" in each.text for each in sentences) == is_said


def test_an_interval_without_zero_and_no_verdict_is_explained(tmp_path: Path) -> None:
    """What leaves it open is the number of comparisons, not the images."""
    results = write(tmp_path / "result", 4, {"control": 0.9})
    content, stored = verdicts.compute(results), arms.load(results)
    entry = dict(content["questions"][0])
    ends = {"ci95": [0.001, 0.03], "ci95_this_test_set": [0.001, 0.03]}
    for verdict, is_said in (("undecided", True), ("better", False)):
        entry["comparisons"] = [entry["comparisons"][0] | ends | {"verdict": verdict, "runs": 4}]
        found = comment(Material(results.experiment.questions[0], entry, results.experiment, stored, []))
        texts = [each.text for each in found]
        explained = "leaves out zero; by the p adjusted for all comparisons it stays undecided."
        assert any(explained in each for each in texts) == is_said
        assert not any("on new images it is open" in each for each in texts)
