"""Exports: what others' programs make of the file, the certificate and what it refuses, the model card."""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import paribus
from data_files import picture
from paribus.cli import main
from paribus.data import load_data
from paribus.errors import ConfigError, DataError, ExportError, ModelError, StoreError
from paribus.export import export
from paribus.export import write as writing
from paribus.export.graph import onnx_bytes
from paribus.predict import TrainedModel
from paribus.store import Results
from pretrained import real_weights
from test_predict import EASY, NET, SOLVED, TUNED, pretrained
from trained_models import LENET, trained


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("result") / "small", LENET)


def run_onnx(file: Path, images: Any) -> dict[str, Any]:
    """What a program of somebody else's gets, which knows nothing of us."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images}), strict=True))


@pytest.mark.parametrize("batch", [1, 7, 360])
def test_onnxruntime_says_what_the_model_says(lenet: Path, tmp_path: Path, batch: int) -> None:
    done = export(lenet, "onnx", tmp_path / "digits.onnx")
    model, images = paribus.load(lenet), load_data("digits", size=28, pad=2).test.images[:batch]
    found, wanted = run_onnx(done.files[0], images), model.predict(images)
    np.testing.assert_allclose(found["probabilities"], wanted.probabilities, atol=1e-5)
    np.testing.assert_allclose(found["logits"], model.logits(images), atol=1e-4)
    assert np.array_equal(found["probabilities"].argmax(axis=1), wanted.classes)


def test_an_exported_graph_is_loaded_as_a_run_is(lenet: Path, tmp_path: Path) -> None:
    file = export(lenet, "onnx", tmp_path / "digits.onnx").files[0]
    model, loaded = paribus.load(lenet), paribus.load(file)
    assert loaded.header == model.header and loaded.class_names == tuple("0123456789")
    raw = load_data("digits").test.images[:9, 0]
    (tmp_path / "image.png").write_bytes(picture(raw[0]))
    np.testing.assert_allclose(
        loaded.predict(list(raw)).probabilities, model.predict(list(raw)).probabilities, atol=1e-6
    )
    with pytest.raises(
        ModelError, match=r"A network of torch's is needed here, but `.*digits.onnx` holds an ONNX graph"
    ):
        export(file, "safetensors", tmp_path / "again.safetensors", [str(tmp_path)])
    properties = {each.key: each.value for each in onnx.load(file).metadata_props}
    assert json.loads(properties["class_names"]) == list("0123456789") and "paribus" in properties


def test_what_lies_beside_a_graph(lenet: Path, tmp_path: Path) -> None:
    done = export(lenet, "onnx", tmp_path / "deep" / "digits.onnx")
    assert [file.name for file in done.files] == [
        "digits.onnx", "digits.preprocessing.json", "digits.onnx.certificate.json",
    ]  # fmt: skip
    told = json.loads(done.files[1].read_text())
    assert told["input"]["shape"] == ["batch", 1, 32, 32] and told["outputs"]["probabilities"]["shape"] == ["batch", 10]
    assert [step["step"] for step in told["outside"]] == ["decode", "resize", "channels", "pad", "order"]
    assert told["outside"][1]["width"] == 28 and told["outside"][3]["pixels"] == 2
    assert [step["step"] for step in told["inside"]] == ["normalise", "network", "softmax"]
    certificate = json.loads(done.files[2].read_text())
    assert certificate["sha256"] == hashlib.sha256(done.files[0].read_bytes()).hexdigest()
    assert certificate["images"] == certificate["same_class"] == 360 and certificate["largest_difference"] < 1e-5
    assert certificate["source"] == "the test images of digits" and certificate["versions"]["torch"] == version("torch")


class _Off(nn.Module):
    """A network that answers a little otherwise than it did."""

    def __init__(self, module: nn.Module, by: float) -> None:
        super().__init__()
        self.module, self.by = module, by

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(images)
        return logits * self.by


@pytest.mark.parametrize(("by", "classes"), [(1.01, "0 classes differ"), (-1.0, r"\d+ classes differ")])
def test_an_export_that_disagrees_leaves_no_file(
    lenet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    by: float,
    classes: str,
) -> None:
    module = TrainedModel.module
    monkeypatch.setattr(TrainedModel, "module", lambda self: _Off(module(self), by))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(
        ExportError, match=rf"but on 360 images \(the test images of digits\) {classes}, and prob.*up to"
    ):
        export(lenet, "onnx", out / "digits.onnx")
    assert main(["export", str(lenet), "--to", "onnx", "--out", str(out / "digits.onnx")]) == 1
    assert "Nothing was kept" in capsys.readouterr().err and list(out.iterdir()) == []


def test_a_network_that_onnx_has_no_operators_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = NET.replace("nn.LazyLinear(num_classes)", "nn.Linear(width * 144, num_classes)")
    code += "\n    def forward(self, x):\n        return nn.functional.torch.special.log_ndtr(super().forward(x))\n"
    Path("net.py").write_text(code)
    folder = trained(tmp_path / "result", TUNED | {"model": {"name": "net.py:Net"}}, "torch", EASY)
    with pytest.raises(
        ExportError, match=r"torch must be able to write `net.py:Net` as ONNX, but raised \w+: .*--to saf"
    ):
        export(folder, "onnx", tmp_path / "net.onnx")
    done = export(folder, "safetensors", tmp_path / "net.safetensors")
    assert "`net.py:Net` must be there as it was" in done.files[1].read_text()


@pytest.mark.parametrize("form", ["onnx", "safetensors"])
@pytest.mark.parametrize("kind", ["fine-tuned", "solved"])
def test_pretrained_networks_leave_with_all_that_they_need(
    tmp_path: Path, fresh_cache: Path, kind: str, form: str
) -> None:
    recipe, engine, options = {
        "fine-tuned": (TUNED, "torch", {"train": "all"}),
        "solved": (SOLVED, "features", {"strength": 0.1}),
    }[kind]
    folder = pretrained(tmp_path / "weights", recipe, engine, **options)  # type: ignore[arg-type]
    done = export(folder, form, tmp_path / f"out.{form}")
    (run,) = Results.open(tmp_path / "weights" / "result").runs("control")
    (tmp_path / "weights" / "tiny.json").unlink()
    (tmp_path / "weights" / "tiny.safetensors").unlink()
    found = paribus.load(done.files[0]).predict(EASY.test.images)
    assert np.array_equal(found.classes, run.predictions().classes)
    assert done.certificate.same_class == done.certificate.images == len(EASY.test) and done.certificate.holds


@pytest.mark.real_data
def test_a_real_backbone_agrees_on_every_image(tmp_path: Path, fresh_cache: Path) -> None:
    real_weights("mobilenetv2_100.tf_in1k")
    chosen = {"name": "pretrained", "weights": "mobilenetv2_100.tf_in1k", "input": 24, "train": "stages-1"}
    folder = trained(tmp_path / "result", TUNED | {"model": chosen}, "torch", EASY)
    (run,) = Results.open(tmp_path / "result").runs("control")
    done = export(folder, "onnx", tmp_path / "out.onnx")
    assert done.certificate.images == len(EASY.test) and done.certificate.largest_difference < 1e-4
    found = run_onnx(done.files[0], EASY.test.images)
    assert np.array_equal(found["probabilities"].argmax(axis=1), run.predictions().classes)


def test_the_model_card(lenet: Path, tmp_path: Path) -> None:
    results = Results.open(lenet.parents[2])
    (run,) = results.runs("control")
    row = {"mean": 0.91, "ci95": [0.9, 0.92], "ci95_kind": "t over seeds"}
    check = {"code": "P022", "outcome": "fired", "where": "whole experiment", "message": "Too few images."}
    other = check | {"code": "P030", "where": "sorted"}
    comparison = {"arm": "sorted", "control": "control", "metric": "test_accuracy", "verdict": "undecided"}
    results.write_json(
        "verdicts.json",
        {
            "format": 1,
            "arms": {
                arm: {"test_accuracy": row, "test_loss": row | {"ci95_kind": "wilson"}}
                for arm in results.experiment.arms
            },
            "questions": [{"id": "order", "comparisons": [comparison]}],
            "checks": [
                check,
                other,
                check | {"code": "P004", "where": "question order"},
                check | {"outcome": "passed"},
            ],
        },
    )
    card = export(lenet, "safetensors", tmp_path / "digits.safetensors").files[1].read_text()
    (results.folder / "verdicts.json").unlink()
    (block,) = [part.removeprefix("toml\n") for part in card.split("```") if part.startswith("toml")]
    assert tomllib.loads(block)["train"]["batch_size"] == 16
    for text in (
        "# small, arm control, seed 0\n",
        f"Test accuracy of this run: {100 * run.result.test_accuracy:.2f} %, 95 % interval ",
        "mean of its runs: 91.00 %, 95 % interval 90.00 % to 92.00 % (t over seeds)",
        "- P022 (whole experiment): Too few images.",
        "- P004 (question order): ",
        "Expected calibration error before any temperature",
        "- Data: CC BY 4.0.",
        "model = paribus.load('digits.safetensors')",
        "360 classes agree with the trained model",
    ):
        assert text in card
    assert "P030" not in card and "Backbone" not in card and card.count("P022") == 1


def test_the_card_of_weights_that_lie_alone(lenet: Path, tmp_path: Path, fresh_cache: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((lenet / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"compared with the model on real images, but `.*` lies in no result folder"):
        export(alone, "onnx", tmp_path / "x.onnx")
    (tmp_path / "image.png").write_bytes(picture(load_data("digits").test.images[0, 0]))
    done = export(alone, "safetensors", tmp_path / "x.safetensors", [str(tmp_path)])
    assert done.certificate.images == 1 and done.certificate.source == "the images that were named"
    assert done.files[1].read_text().count("Not at hand: the weights lie in no result folder.") == 2


def test_the_card_names_the_backbones_licence(tmp_path: Path, fresh_cache: Path) -> None:
    folder = pretrained(tmp_path / "weights", TUNED, "torch", train="all")
    card = export(folder, "safetensors", tmp_path / "x.safetensors").files[1].read_text()
    assert "- Backbone test_resnet: apache-2.0; pretrained on noise." in card
    assert "- Data: not known to paribus." in card
    assert "No verdicts have been written yet" in card


def test_refusals_say_what_to_do(lenet: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    for arguments, error, text in (
        (("onx",), ConfigError, r"must be|exported to one of onnx, safetensors, but got `onx`. Did you mean `onnx`\?"),
        (("onnx", tmp_path / "x.pt"), ConfigError, r"The file must end in .onnx, but got `.*x.pt`. Name it so"),
        (
            ("onnx", tmp_path / "x.onnx", ["no*.png"]),
            DataError,
            r"--data must name images, but .*`no\*.png`: no file mat",
        ),
        (
            ("onnx", tmp_path / "x.onnx", [str(tmp_path)]),
            DataError,
            r"bad.png` cannot be read: not an image of a known",
        ),
    ):
        with pytest.raises(error, match=text):
            export(lenet, *arguments)
    assert not (tmp_path / "x.onnx").exists()


def test_damaged_graphs_are_refused(lenet: Path, tmp_path: Path) -> None:
    model = paribus.load(lenet)
    content = onnx_bytes(model)
    file = tmp_path / "x.onnx"
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"must be an ONNX file, but onnxruntime cannot read it: .* Export the model"):
        paribus.load(file)
    graph = onnx.load_from_string(content)
    for name, changes, text in (
        ("paribus", None, "must say in its metadata how its network is to be used, but does not"),
        ("paribus", {"class_names": list("abc")}, r"must have the inputs and outputs .*\[3\].* but has .*\[10\]"),
    ):
        told = {} if changes is None else {name: json.dumps(json.loads(model.header.to_text()) | changes)}
        del graph.metadata_props[:]
        onnx.helper.set_model_props(graph, told)
        file.write_bytes(graph.SerializeToString())
        with pytest.raises(StoreError, match=text):
            paribus.load(file)


def test_the_command_tells_what_it_wrote(
    lenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(lenet), "--to", "safetensors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("parity: on 360 images (the test images of digits) 360 classes agree with the trained")
    assert [line.split() for line in lines[1:]] == [
        ["wrote", f"small-control-0.{end}"] for end in ("safetensors", "md", "safetensors.certificate.json")
    ]
    assert set(writing.FORMATS) == {"onnx", "safetensors"}
