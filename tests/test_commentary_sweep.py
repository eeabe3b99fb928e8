"""What is said of a sweep: its best value, the good range around it, its edge."""

from __future__ import annotations

import re
from pathlib import Path

from paribus import checks
from paribus.experiment import Experiment
from paribus.testing.synthetic import write_results
from test_commentary import TOML, texts_of, write


def test_a_sweep_names_its_best_value_its_good_range_and_its_edge(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 3, {"control": 0.966, "lr-0.01": 0.7, "lr-1": 0.97})
    texts = texts_of(results, "rate")
    assert texts[0].startswith("Of 3 values of `optim.lr`, 1 is best on validation")
    assert "From 0.1 to 1, 1 decade, validation accuracy stays within the margin of 1 point of the best." in texts
    short = r"Short of that, in as many epochs, of the smaller values 0.01 \(\d\d\.\d\d %\)\."
    assert [each for each in texts if re.fullmatch(short, each)]
    assert "No larger value was tried than those of this range." in texts
    assert "The best value lies at the edge of what was tried for `optim.lr`." in texts
    assert "question rate" in [f.where for f in checks.outcome(results) if f.outcome == "fired"]


def test_a_sweep_over_epochs_or_by_loss_is_told_as_what_it_is(tmp_path: Path) -> None:
    text = TOML.replace('factor = "optim.lr"', 'factor = "train.epochs"').replace("[0.01, 0.1, 1.0]", "[1, 4, 9]")
    assert text != TOML
    experiment = Experiment.parse(text.replace("@seeds", "3"))
    results = write_results(tmp_path / "epochs", experiment, {"control": 0.9, "epochs-1": 0.6, "epochs-9": 0.97})
    assert [each for each in texts_of(results, "rate") if each.startswith("Short of that, of the smaller values 1 (")]
    sweep = 'id = "rate"'
    by_loss = Experiment.parse(TOML.replace(sweep, f'{sweep}\nmetric = "test_loss"').replace("@seeds", "3"))
    results = write_results(tmp_path / "loss", by_loss, {"control": 0.9, "lr-1": 0.97})
    assert texts_of(results, "rate")[0].startswith(
        "Of 3 values of `optim.lr`, 1 has the lowest validation loss (accuracy "
    )


def test_a_sweep_whose_best_is_the_control_says_so(tmp_path: Path) -> None:
    texts = texts_of(
        write(tmp_path / "result", 3, {"control": 0.97, "relu": 0.7, "lr-0.01": 0.7, "lr-1": 0.8}), "activation"
    )
    assert texts[0].startswith("Of 2 values of `model.activation`, `tanh` is best on validation (accuracy ")
    assert texts[0].endswith(", and it is the control's own, so there is nothing to compare it with.")
