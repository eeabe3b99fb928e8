"""What the report says that an arm changes, and how large its network is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from paribus.experiment import Experiment
from paribus.testing.synthetic import write_results
from test_report import HEAD, QUESTION, report


def test_an_option_that_the_control_lacks_is_absent_there(tmp_path: Path) -> None:
    text = HEAD.format(title='"Width"', seeds=1, val=100) + QUESTION.format(asks='"A wider one?"')
    arm = 'arms.wide = { "model.name" = "charcnn", "model.width" = 16 }\ntogether = [["model.name", "model.width"]]'
    experiment = Experiment.parse(text.replace('arms.relu = { "model.activation" = "relu" }', arm))
    _, page = report(write_results(tmp_path / "result", experiment, {"control": 0.9}))
    changed = page.table_with("Arm")[1]["What changed"]
    assert changed == "model.name: lenet5 \u2192 charcnn; model.width: (absent) \u2192 16"


def test_an_option_that_a_users_class_sets_itself_is_said_to_be_as_there(tmp_path: Path) -> None:
    text = HEAD.format(title='"Width"', seeds=1, val=100) + QUESTION.format(asks='"A wider one?"')
    text = text.replace('"model.activation" = "relu"', '"model.width" = 16')
    experiment = Experiment.parse(re.sub(r"^model = .*$", 'model = { name = "net.py:Net" }', text, flags=re.MULTILINE))
    _, page = report(write_results(tmp_path / "result", experiment, {"control": 0.9}))
    assert page.table_with("Arm")[1]["What changed"] == "model.width: (as in the class) \u2192 16"


def test_the_number_of_parameters_is_told_where_networks_differ_in_it(tmp_path: Path) -> None:
    experiment = Experiment.parse(HEAD.format(title='"Pooling"', seeds=1, val=100) + QUESTION.format(asks='"ReLU?"'))
    results = write_results(tmp_path / "result", experiment, {"control": 0.9, "relu": 0.91})
    assert "parameter" not in report(results)[1].table_with("Arm")[0]["What changed"]
    run = results.runs("relu")[0].folder / "result.json"
    told = json.loads(run.read_text(encoding="utf-8"))
    run.write_text(json.dumps(told | {"parameters": 62_706}), encoding="utf-8")
    changed = [row["What changed"] for row in report(results)[1].table_with("Arm")]
    assert changed[:2] == [
        f"nothing\n{told['parameters']:,} parameters",
        "model.activation: tanh \u2192 relu\n62,706 parameters",
    ]
