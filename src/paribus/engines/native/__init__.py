"""Compiled CPU kernels for chains of convolution, activation, pooling and linear layers: the LeNet family.

`kernels/` is C++, compiled by `build` when the package is installed; `chain` reads a torch module as a chain of layers;
`network` is a chain with its weights; `engine` trains runs. See docs/decisions/native-engine.md.
"""

from __future__ import annotations

from paribus.config import ModelConfig, Recipe
from paribus.engines.native import build

_SERVED = {"lenet5": None, "lenet5-1998": None, "charcnn": "`charcnn` normalises batches"}


def refuses(recipe: Recipe, image_shape: tuple[int, int, int], num_classes: int) -> str | None:
    """Return why the engine cannot train a recipe on such images, None if it can.

    A user's own network is built, traced and compared with torch's outputs and gradients, which loads torch.
    """
    missing = build.missing()
    if missing is not None:
        return missing
    if recipe.model.name in _SERVED:
        return _SERVED[recipe.model.name]
    return _refuses_model(recipe.model, image_shape, num_classes)


def _refuses_model(model: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> str | None:
    from paribus.engines.native.comparison import why_not

    key = (model.model_dump_json(), image_shape, num_classes)
    if key not in _COMPARED:
        _COMPARED[key] = why_not(model, image_shape, num_classes)
    return _COMPARED[key]


_COMPARED: dict[tuple[str, tuple[int, int, int], int], str | None] = {}
