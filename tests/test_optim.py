"""Optimisers against torch's plain ones, and the learning rate of every step against torch's schedulers."""

from __future__ import annotations

import inspect
import itertools
import math
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paribus.config import OptimConfig, Recipe, ScheduleConfig
from paribus.errors import ConfigError
from paribus.optim import OPTIMIZERS, WeightAverage, build_optimizer, learning_rate, update

OPTIMS = [
    OptimConfig(name="sgd", lr=0.1),
    OptimConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    OptimConfig(name="adam", lr=0.01, betas=[0.8, 0.99], weight_decay=0.1),
    OptimConfig(name="adamw", lr=0.01, weight_decay=0.1),
    OptimConfig(name="rmsprop", lr=0.01, momentum=0.5),
    OptimConfig(name="adagrad", lr=0.1),
]


def test_every_optimiser_is_built_and_tried_here() -> None:
    names = set(get_args(OptimConfig.model_fields["name"].annotation)) - {"lbfgs"}  # Heads are solved for elsewhere.
    assert set(OPTIMIZERS) == {config.name for config in OPTIMS} == names


def plain(config: OptimConfig, parameter: nn.Parameter) -> torch.optim.Optimizer:
    """The same optimiser by torch's own loop over parameters."""
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "foreach": False}
    if config.name in ("sgd", "rmsprop"):
        options["momentum"] = config.momentum
    if config.nesterov:
        options["nesterov"] = True
    if config.betas:
        options["betas"] = tuple(config.betas)
    optimizer: torch.optim.Optimizer = OPTIMIZERS[config.name]([parameter], **options)
    return optimizer


def random_kernel() -> torch.Tensor:
    weights = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return weights.contiguous(memory_format=torch.channels_last)


def step_with(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, index: int) -> None:
    gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
    parameter.grad = gradient.contiguous(memory_format=torch.channels_last)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] / (index + 1)
    optimizer.step()


@pytest.mark.parametrize("config", OPTIMS, ids=lambda config: f"{config.name}-{config.momentum:g}")
@pytest.mark.parametrize("resumed", [False, True])
def test_steps_equal_torchs_plain_optimiser_also_after_a_checkpoint(config: OptimConfig, resumed: bool) -> None:
    ours, theirs = nn.Parameter(random_kernel()), nn.Parameter(random_kernel())
    optimizer, reference = build_optimizer(config, [ours]), plain(config, theirs)
    for group in (*optimizer.param_groups, *reference.param_groups):
        group["initial_lr"] = group["lr"]
    for index in range(6):
        step_with(optimizer, ours, index)
        step_with(reference, theirs, index)
        if resumed and index == 2:
            state = optimizer.state_dict()
            for entries in state["state"].values():  # As a file holds them: in C order.
                entries |= {key: value.contiguous() for key, value in entries.items() if torch.is_tensor(value)}
            optimizer = build_optimizer(config, [ours])
            optimizer.load_state_dict(state)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", OPTIMS, ids=lambda config: f"{config.name}-{config.momentum:g}")
def test_the_step_is_fused_where_torch_can(config: OptimConfig) -> None:
    optimizer = build_optimizer(config, [nn.Parameter(random_kernel())])
    can = "fused" in inspect.signature(OPTIMIZERS[config.name]).parameters
    assert bool(optimizer.param_groups[0].get("fused")) == can
    assert optimizer.param_groups[0]["weight_decay"] == config.weight_decay


def rates(schedule: ScheduleConfig, steps_per_epoch: int, epochs: int, lr: float = 0.5) -> list[float]:
    optim = OptimConfig(lr=lr)
    steps = range(steps_per_epoch * epochs)
    return [learning_rate(optim, schedule, step, steps_per_epoch, epochs) for step in steps]


def torch_rates(make: Any, steps: int, lr: float = 0.5) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(found) < steps:
            scheduler.step()
    return found


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 1), (1, 2), (7, 1), (13, 5), (100, 3)])
def test_one_cycle_is_torchs(steps_per_epoch: int, epochs: int) -> None:
    total = steps_per_epoch * epochs

    def make(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=total)

    ours = rates(ScheduleConfig(name="one-cycle"), steps_per_epoch, epochs)
    assert ours == pytest.approx(torch_rates(make, total), rel=1e-9)


def test_cosine_is_torchs() -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)

    assert rates(ScheduleConfig(name="cosine"), 12, 5) == pytest.approx(torch_rates(make, 60), rel=1e-9)


@pytest.mark.parametrize(("step_epochs", "steps_per_epoch"), [(2.0, 10), (0.7, 10), (0.07, 100)])
def test_step_is_torchs(step_epochs: float, steps_per_epoch: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer, round(step_epochs * steps_per_epoch), gamma=0.8)

    schedule = ScheduleConfig(name="step", step_epochs=step_epochs, gamma=0.8)
    expected = torch_rates(make, 6 * steps_per_epoch)
    assert rates(schedule, steps_per_epoch, 6) == pytest.approx(expected, rel=1e-9)


def test_warmup_is_torchs_linear_and_the_others_begin_after_it() -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 20, end_factor=1.0, total_iters=19)

    warm = rates(ScheduleConfig(name="cosine", warmup_epochs=2.0), 10, 6)
    assert warm[:20] == pytest.approx(torch_rates(make, 20), rel=1e-9)
    assert warm[20:] == pytest.approx(rates(ScheduleConfig(name="cosine"), 10, 4), rel=1e-9)
    constant = rates(ScheduleConfig(warmup_epochs=0.25), 10, 1)
    assert constant == pytest.approx([0.2, 0.4] + [0.5] * 8)


SCHEDULES = st.one_of(
    st.builds(ScheduleConfig, name=st.sampled_from(["constant", "cosine"]), warmup_epochs=st.floats(0, 0.99)),
    st.just(ScheduleConfig(name="one-cycle")),
    st.builds(
        ScheduleConfig,
        name=st.just("step"),
        warmup_epochs=st.floats(0, 0.99),
        step_epochs=st.floats(0.1, 5),
        gamma=st.floats(0.1, 0.9),
    ),
)


@settings(max_examples=100, deadline=None)
@given(SCHEDULES, st.integers(1, 30), st.integers(1, 8), st.floats(1e-4, 10))
def test_rates_stay_between_zero_and_lr(schedule: ScheduleConfig, per_epoch: int, epochs: int, lr: float) -> None:
    found = rates(schedule, per_epoch, epochs, lr)
    assert all(0 < rate <= lr * (1 + 1e-12) for rate in found)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["cosine", "one-cycle"]), st.integers(10, 60), st.integers(1, 8))
def test_smooth_schedules_make_no_jump(name: Any, per_epoch: int, epochs: int) -> None:
    found = rates(ScheduleConfig(name=name), per_epoch, epochs, lr=1.0)
    steepest = math.pi / 2 / (0.3 * len(found) - 1 if name == "one-cycle" else len(found))
    assert all(abs(b - a) <= steepest + 1e-9 for a, b in itertools.pairwise(found))


def test_a_warmup_as_long_as_the_run_is_refused() -> None:
    tables = {"data": {"name": "digits"}, "model": {"name": "lenet5"}, "optim": {"lr": 0.1}, "train": {"epochs": 2}}
    assert Recipe.parse({**tables, "schedule": {"warmup_epochs": 1.5}}).schedule.warmup_epochs == 1.5
    with pytest.raises(ConfigError, match=r"`schedule.warmup_epochs` must be below `train.epochs`, but got 2 of 2"):
        Recipe.parse({**tables, "schedule": {"warmup_epochs": 2.0}})


class Tied(nn.Module):
    """One weight under two names, and transposed under a third; and one beside it."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.first, self.other = nn.Linear(2, 3, bias=False), nn.Linear(2, 3, bias=False)
        self.second, self.back = nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)
        self.seen = nn.Buffer(torch.zeros((), dtype=torch.int64))
        if tied:
            self.second.weight = self.first.weight
            self.back.weight = nn.Parameter(self.first.weight.detach().t())

    def fill(self, value: int) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(value)
            self.seen.fill_(value)


@pytest.mark.parametrize("tied", [False, True])
def test_an_average_is_the_mean_in_which_older_weights_weigh_less_however_many_names_they_have(tied: bool) -> None:
    network, trained, decay = Tied(tied=tied), Tied(tied=tied), 0.9
    average = WeightAverage(network, decay)
    for steps in range(1, 5):
        trained.fill(steps)
        average.add(trained, steps)
    weights = [decay ** (4 - steps) for steps in range(1, 5)]
    expected = sum(weight * steps for weight, steps in zip(weights, range(1, 5), strict=True)) / sum(weights)
    assert expected == pytest.approx(2.631, abs=5e-4)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, expected), msg=name)
    assert network.seen == 4


def test_no_compiler_is_loaded_before_the_first_step() -> None:
    code = (
        "import sys, torch\n"
        "from paribus.config import OptimConfig\n"
        "from paribus.optim import build_optimizer, update\n"
        "from paribus.optim import OPTIMIZERS\n"
        "for name in OPTIMIZERS:\n"
        "    weights = torch.nn.Parameter(torch.ones(3))\n"
        "    optimizer = build_optimizer(OptimConfig(name=name, lr=0.1), [weights])\n"
        "    optimizer.zero_grad()\n"
        "    weights.sum().backward()\n"
        "    update(optimizer)\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "    assert (weights != 1).all()\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_is_the_optimisers_step(name: str) -> None:
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4)) for _ in range(2)]
    one, other = (build_optimizer(OptimConfig(name=name, lr=0.1, weight_decay=0.01), [each]) for each in weights)  # type: ignore[arg-type]
    for _ in range(5):
        for each in weights:
            each.grad = (each.detach() ** 2).sin()
        update(one)
        other.step()
        assert torch.equal(*weights)
    assert not torch.equal(weights[0], torch.linspace(-1, 1, 12).view(3, 4))
