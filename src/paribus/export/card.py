"""The model card, in Markdown: what was trained on what, how well it does, where that ends, how to load it.

Source of the form: Mitchell et al. 2019, Model cards for model reporting, arXiv 1810.03993.
"""

from __future__ import annotations

from typing import Any

from paribus.data import SOURCES
from paribus.export.certificate import Certificate
from paribus.predict import TrainedModel
from paribus.report.render import markdown_text as md
from paribus.stats import wilson
from paribus.store import Results, Run
from paribus.wording import count, interval, level, loss, percent, plain

_SHOWN = 50
"""As many class names are listed."""


def model_card(model: TrainedModel, results: Results | None, certificate: Certificate) -> str:
    """Return the card of an exported model.

    Args:
        model: The model.
        results: The result that its run is of; without it the card says that no metrics are at hand.
        certificate: Of this export.
    """
    run = None if results is None else _run_of(model, results)
    sections = {
        "Data": _data(model, run),
        "Recipe": _recipe(model),
        "Metrics": [_ALONE] if run is None else _metrics(run, results),
        "Checks that fired": [_ALONE] if results is None else _checks(results, model.arm),
        "Limits": _limits(model),
        "Licences": _licences(model),
        "Use": _use(model, certificate),
    }
    lines = [f"# {md(model.header.experiment)}, arm {md(model.arm)}, seed {model.seed}", ""]
    lines += [f"An image classifier that tells {len(model.class_names):,} classes apart, trained with paribus.", ""]
    for heading, content in sections.items():
        lines += [f"## {heading}", *content, ""]
    return "\n".join(lines)


def _run_of(model: TrainedModel, results: Results) -> Run | None:
    folder = model.path.resolve().parent
    return next((run for run in results.runs(model.arm) if run.folder.resolve() == folder), None)


def _data(model: TrainedModel, run: Run | None) -> list[str]:
    data, (channels, height, width) = model.recipe.data, model.image_shape
    source = SOURCES.get(data.name)
    names = ", ".join(md(name) for name in model.class_names[:_SHOWN])
    more = f" and {len(model.class_names) - _SHOWN} more" if len(model.class_names) > _SHOWN else ""
    lines = [f"- Source: {md(data.name if source is None else f'{source.title} ({source.citation})')}."]
    lines.append(f"- Images: {'grey' if channels == 1 else 'RGB'}, {height} x {width} pixels as the network gets them.")
    lines.append(f"- Classes: {names}{more}.")
    if run is not None:
        result = run.result
        val = "val is test" if result.val_is_test else f"{result.val_examples:,} for validation"
        lines.append(
            f"- {count(result.train_examples, 'image')} trained it, {val}, {result.test_examples:,} tested it."
        )
    return lines


def _recipe(model: TrainedModel) -> list[str]:
    import tomli_w

    tables = model.recipe.identity()
    kept = {name: {key: each for key, each in keys.items() if each is not None} for name, keys in tables.items()}
    text = tomli_w.dumps(kept)
    fence = "`" * (3 + text.count("```"))
    return ["", f"{fence}toml", text.rstrip(), fence]


def _metrics(run: Run, results: Results | None) -> list[str]:
    result = run.result
    correct = round(result.test_accuracy * result.test_examples)
    within = interval(wilson(correct, result.test_examples), percent)
    lines = [
        f"- Test accuracy of this run: {percent(result.test_accuracy)} %, 95 % interval {within} % (Wilson, "
        f"{count(result.test_examples, 'test image')}).",
        f"- Test loss of this run: {loss(result.test_loss)} nats.",
    ]
    for metric in ("test_accuracy", "test_loss"):
        row = _arm_row(results, result.arm).get(metric)
        if row and row["mean"] is not None and row["ci95_kind"] == "t over seeds":
            ends = " to ".join(level(end, metric) for end in row["ci95"])
            lines.append(
                f"- {'Test accuracy' if metric == 'test_accuracy' else 'Test loss'} of the arm, mean of its runs: "
                f"{level(row['mean'], metric)}, 95 % interval {ends} (t over seeds)."
            )
    probes = run.probes()
    if probes is not None:
        error, images = percent(probes.calibration_error), count(probes.images, "validation image")
        lines.append(f"- Expected calibration error before any temperature: {error} % ({images}).")
    return lines


def _arm_row(results: Results | None, arm: str) -> dict[str, Any]:
    return {} if results is None else _verdicts(results).get("arms", {}).get(arm, {})


def _verdicts(results: Results) -> dict[str, Any]:
    # A run may be exported while others of its experiment are still being trained.
    return results.verdicts() if results.has_verdicts() else {}


def _checks(results: Results, arm: str) -> list[str]:
    verdicts = _verdicts(results)
    if not verdicts:
        return ["- No verdicts have been written yet: `paribus report` writes them."]
    asked = {
        f"question {question['id']}"
        for question in verdicts["questions"]
        for comparison in question["comparisons"]
        if arm in (comparison["arm"], comparison["control"])
    }
    fired = [
        f"- {check['code']} ({check['where']}): {md(check['message'])}"
        for check in verdicts["checks"]
        if check["outcome"] == "fired" and check["where"] in {arm, "whole experiment", *asked}
    ]
    return fired or ["- None, of those that look at this arm."]


def _limits(model: TrainedModel) -> list[str]:
    temperature, header = model.temperature, model.header
    lines = [
        "- It names one of its classes for any image at all, also one that shows none of them.",
        "- What was measured holds for images of the same source as the test images, prepared in the same way.",
        "- One run: another seed errs on other images.",
    ]
    if ":" in model.recipe.model.name:
        lines.append(f"- To load it, `{model.recipe.model.name}` must be there as it was when the network was trained.")
    if temperature is None:
        lines.append(f"- Probabilities are those of the logits as they are: {md(header.temperature_reason)}.")
    else:
        lines.append(
            f"- Probabilities are taken at a temperature of {plain(temperature)}, {md(header.temperature_reason)}."
        )
    if model.recipe.data.val == "test":
        lines.append("- It was validated on its test images: whoever chose by them has made its accuracy too good.")
    return lines


def _licences(model: TrainedModel) -> list[str]:
    source = SOURCES.get(model.recipe.data.name)
    lines = [f"- Data: {'not known to paribus' if source is None else md(source.licence)}."]
    backbone = model.header.backbone
    if backbone is not None and model.recipe.model.options["weights"] != "none":
        licence, origin, images = (backbone.get(key) for key in ("licence", "origin", "pretrained_on"))
        told = f"- Backbone {md(backbone['architecture'])}: {'not stated' if licence is None else md(licence)}"
        told += "" if origin is None else f" (from {md(origin)})"
        lines.append(told + ("." if images is None else f"; pretrained on {md(images)}."))
    return lines


def _use(model: TrainedModel, certificate: Certificate) -> list[str]:
    return [
        "",
        "```python",
        "import paribus",
        "",
        f"model = paribus.load({certificate.exported!r})",
        'print(model.predict(["image.png"]).top(1))',
        "```",
        "",
        f"Or `paribus predict {certificate.exported} image.png`. {md(certificate.sentence[0].upper())}"
        f"{md(certificate.sentence[1:])}.",
    ]


_ALONE = "- Not at hand: the weights lie in no result folder."
