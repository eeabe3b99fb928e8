"""What is seen in a network: its maps as they are, and where it looks, against what can be written down."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from networks import Functional, Net, Residual
from paribus.config import ModelConfig
from paribus.models import build_model
from paribus.web import pictures
from paribus.web.insight import look


class Pooled(nn.Module):
    """A convolution, the mean of each map, a linear layer: where it looks is known (Selvaraju et al., section 3.1)."""

    def __init__(self, after: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.after = after or nn.Identity()
        self.head = nn.Linear(3, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.after(self.conv(x)).mean(dim=(2, 3)))
        return logits


class Excited(Pooled):
    """After its convolution comes one on the means of the maps, as in squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        gates = torch.sigmoid(self.gate(maps.mean(dim=(2, 3), keepdim=True)))
        logits: Tensor = self.head((maps * gates).mean(dim=(2, 3)))
        return logits


class Beside(Pooled):
    """Its convolution runs, and has no part in the logits."""

    def forward(self, x: Tensor) -> Tensor:
        self.conv(x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)).expand(-1, 3))
        return logits


def image(side: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(seed))


def seeded(network: type[nn.Module], *given: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return network(*given).eval()


@pytest.mark.parametrize("label", range(4))
def test_where_a_network_of_means_looks_is_its_weighted_maps(label: int) -> None:
    network, x = seeded(Pooled), image()
    assert isinstance(network, Pooled)
    maps = network.conv(x)[0].detach()
    expected = (network.head.weight[label].detach()[:, None, None] * maps).sum(dim=0).clamp(min=0)
    insight = look(network, x, label)
    assert insight.attention is not None and insight.attention_layer == "conv" and insight.reason == ""
    np.testing.assert_allclose(insight.attention, (expected / expected.max()).numpy(), atol=1e-6)
    assert insight.seen is not None
    np.testing.assert_array_equal(insight.seen, x[0].numpy())
    np.testing.assert_array_equal(insight.maps[0].values, maps.numpy())


def test_what_overwrites_the_maps_does_not_change_what_is_seen() -> None:
    plain, overwriting = seeded(Pooled, nn.ReLU()), seeded(Pooled, nn.ReLU(inplace=True))
    first, second = look(plain, image(), 0), look(overwriting, image(), 0)
    assert first.attention is not None and second.attention is not None
    np.testing.assert_array_equal(first.attention, second.attention)
    assert second.maps[0].values.min() < 0
    np.testing.assert_array_equal(first.maps[0].values, second.maps[0].values)


def test_convolutions_of_single_pixels_have_no_place_to_look_at() -> None:
    insight = look(seeded(Excited), image(), 1)
    assert insight.attention_layer == "conv"
    assert [each.layer for each in insight.maps] == ["conv", "gate"]


def test_the_first_two_convolutions_are_those_that_run_first() -> None:
    insight = look(seeded(Residual), image(32), 0)
    assert [(each.layer, each.values.shape) for each in insight.maps] == [
        ("stem.0", (8, 32, 32)),
        ("branch.0", (8, 32, 32)),
    ]
    assert [each.layer for each in look(seeded(Residual), image(32), 0, first=1).maps] == ["stem.0"]


def test_where_it_looks_has_the_size_of_what_is_seen() -> None:
    insight = look(seeded(Net), image(32), 3)
    assert insight.attention is not None and insight.attention.shape == (32, 32)
    assert insight.attention.min() >= 0 and insight.attention.max() <= 1


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Functional, "This network has no convolution with maps, so there is no place that it looks at."),
        (Residual, "This network overwrites what its gradients need, so where it looks cannot be told."),
        (Beside, "No convolution of this network reaches the logits, so there is no place that it looks at."),
    ],
)
def test_a_network_that_looks_nowhere_says_why(network: type[nn.Module], reason: str) -> None:
    insight = look(seeded(network), image(32), 0)
    assert insight.attention is None and insight.reason == reason


def test_nothing_may_speak_for_a_class() -> None:
    network = seeded(Pooled, nn.ReLU())
    assert isinstance(network, Pooled)
    nn.init.constant_(network.head.weight, -1.0)
    nn.init.constant_(network.conv.bias, 100.0)  # type: ignore[arg-type]
    insight = look(network, image(), 0)
    assert insight.attention is None and insight.reason == "Nothing in the maps of `conv` speaks for this class."


@pytest.mark.parametrize("name", ["lenet5", "lenet5-1998", "charcnn"])
def test_every_built_in_network_shows_two_convolutions_and_where_it_looks(name: str) -> None:
    network = build_model(ModelConfig(name=name), (1, 32, 32), 10, seed=0).eval()
    insight = look(network, image(32), 2)
    assert len(insight.maps) == 2 and insight.seen is not None and insight.seen.shape == (1, 32, 32)
    assert insight.attention is not None and insight.attention.shape == (32, 32)


def test_a_network_comes_out_as_it_went_in() -> None:
    network = nn.Sequential(seeded(Net), nn.BatchNorm1d(10)).eval().requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode():
        insight = look(network, image(32), 0)
    assert insight.attention is not None  # Though nothing in it learns.
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_hooks_are_taken_off_when_the_network_fails() -> None:
    network = seeded(Pooled)
    with pytest.raises(RuntimeError):
        look(network, torch.zeros(1, 2, 6, 6), 0)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_sheet_has_every_map_in_its_place_scaled_by_itself() -> None:
    maps = np.stack([np.full((2, 3), 7.0), *(np.arange(6.0).reshape(2, 3) * scale for scale in range(1, 9))])
    sheet = pictures.sheet(maps.astype(np.float32))
    assert sheet.shape == (2 * 3 - 1, 8 * 4 - 1, 2)
    assert sheet[:2, :3, 0].max() == 0  # One value: black.
    assert sheet[:2, 4:7, 0].tolist() == sheet[3:5, :3, 0].tolist() == [[0, 51, 102], [153, 204, 255]]
    assert sheet[:2, 3, 1].tolist() == [0, 0] and sheet[3:5, 3:, 1].max() == 0  # Between maps, and where there is none.


def test_a_sheet_holds_so_many_maps() -> None:
    assert pictures.sheet(np.zeros((100, 4, 4), dtype=np.float32)).shape == (4 * 5 - 1, 8 * 5 - 1, 2)
    assert pictures.sheet(np.zeros((3, 4, 4), dtype=np.float32)).shape == (4, 3 * 5 - 1, 2)


def test_pictures_are_pngs_with_these_pixels() -> None:
    pixels = pictures.picture(np.array([[[-3.0, 12.4]], [[12.6, 300.0]], [[0.0, 1.0]]], dtype=np.float32))
    assert pixels.tolist() == [[[0, 13, 0], [12, 255, 1]]]
    address = pictures.data_url(pixels)
    decoded = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    assert decoded.format == "PNG" and np.array_equal(np.asarray(decoded), pixels)
    assert pictures.picture(np.full((1, 2, 2), 9.0, dtype=np.float32)).tolist() == [[9, 9], [9, 9]]


def test_the_highlight_is_clear_where_nothing_speaks() -> None:
    layer = pictures.highlight(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert layer[0, :, 3].tolist() == [0, 102, 204]
    assert (layer[..., :3] == pictures.HIGHLIGHT).all()
