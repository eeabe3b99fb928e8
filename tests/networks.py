"""Networks of many kinds for 1 x 32 x 32 and ten classes: honest ones, and ones with a fault that a check must name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

K = 10
Build = Callable[[], nn.Module]


class Net(nn.Module):
    """Two convolutions and a linear layer; `head` sees what it gives."""

    def __init__(self, head: Callable[[Tensor], Tensor] | nn.Module | None = None) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 8, 3, padding=1)
        self.c2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc = nn.Linear(16, K)
        self.head = head or (lambda logits: logits)

    def body(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.c1(x)), 2)
        return functional.relu(self.c2(x)).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc(self.body(x)))


class Residual(nn.Module):
    """In-place additions and activations, as torchvision's networks have them."""

    def __init__(self, freeze: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.fc = nn.Linear(8, K)
        self.stem.requires_grad_(not freeze)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.stem(x))
        y = self.branch(x)
        y += x
        logits: Tensor = self.fc(functional.relu_(y).mean(dim=(2, 3)))
        return logits


class FrozenInEvaluation(Residual):
    def __init__(self) -> None:
        super().__init__(freeze=True)

    def train(self, mode: bool = True) -> FrozenInEvaluation:
        super().train(mode)
        self.stem.eval()
        return self


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [(1024, 20), (20, K), (K,)]
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(size) / size[0] ** 0.5) for size in sizes])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = torch.tanh(x.flatten(1) @ self.weights[0]) @ self.weights[1] + self.weights[2]
        return logits


class Tied(nn.Module):
    """One layer used twice, once as the last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.tied = nn.Linear(1024, K, bias=False), nn.Linear(K, K)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.tied(torch.relu(self.tied(torch.relu(self.first(x.flatten(1))))))
        return logits


class Scale(nn.Module):
    """A parameter on each logit, and a buffer beside it."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((K,), 5.0))
        self.register_buffer("mean", torch.tensor(0.1))

    def forward(self, logits: Tensor) -> Tensor:
        return (logits - self.mean) * self.scale


class TwoHeads(Net):
    def __init__(self, act: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.other, self.act = nn.Linear(16, K), act

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        logits: Tensor = (self.act(self.fc(x)) + self.act(self.other(x))) / 2
        return logits


class Gated(TwoHeads):
    """Two heads mixed by a gate that sees the image."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        share = torch.sigmoid(self.gate(x))
        logits: Tensor = share * self.fc(x) + (1 - share) * self.other(x)
        return logits


class Maps(nn.Module):
    """Convolutions all the way: a map per class, pooled over the whole image."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.pool = nn.Conv2d(1, 8, 3), nn.Conv2d(8, K, 3), pool

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.pool(self.b(functional.relu(self.a(x))))
        return maps.flatten(1)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 8, 8)
        self.positions = nn.Parameter(torch.randn(1, 17, 32) * 0.02)
        self.first = nn.Parameter(torch.zeros(1, 1, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.norm, self.fc = nn.LayerNorm(32), nn.Linear(32, K)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], dim=1) + self.positions
        logits: Tensor = self.fc(self.norm(self.layer(x))[:, 0])
        return logits


class Cosine(Net):
    def forward(self, x: Tensor) -> Tensor:
        return 10 * functional.linear(functional.normalize(self.body(x)), functional.normalize(self.fc.weight))


class Separable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1)
        self.deep, self.point = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1)
        self.fc = nn.Linear(16, K)

    def forward(self, x: Tensor) -> Tensor:
        x = self.point(self.deep(functional.relu6(self.stem(x))))
        logits: Tensor = self.fc(functional.relu6(x).mean(dim=(2, 3)))
        return logits


class InTraining(Net):
    """Does something to the features in training only."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def body(self, x: Tensor) -> Tensor:
        x = super().body(x)
        return self.change(x) if self.training else x


class InPieces(Net):
    """Writes its logits into a tensor made beforehand."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        logits = torch.zeros(len(x), K)
        logits[:, :5], logits[:, 5:] = self.fc(x)[:, :5], self.fc(x)[:, 5:]
        return logits


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(32, 16, batch_first=True), nn.Linear(16, K)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.lstm(x[:, 0])[0][:, -1])
        return logits


class Unbent(Net):
    """Average pooling where an activation should be."""

    def body(self, x: Tensor) -> Tensor:
        return functional.relu(self.c2(functional.avg_pool2d(self.c1(x), 2))).mean(dim=(2, 3))


class Drifting(Net):
    """A frozen parameter that its own forward moves."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(16, 16).requires_grad_(False)

    def body(self, x: Tensor) -> Tensor:
        if self.training:
            self.part.weight.data.mul_(0.9)
        return torch.relu(self.part(super().body(x)))


def half_relu(logits: Tensor) -> Tensor:
    """Bend five of ten logits."""
    return torch.cat([torch.relu(logits[:, :5]), logits[:, 5:]], dim=1)


HONEST: dict[str, Build] = {
    "plain": Net,
    "residual": Residual,
    "frozen part in evaluation": FrozenInEvaluation,
    "functional": Functional,
    "tied": Tied,
    "scale": lambda: Net(Scale()),
    "batch norm last": lambda: Net(nn.BatchNorm1d(K)),
    "log-softmax": lambda: Net(nn.LogSoftmax(dim=1)),
    "two heads": TwoHeads,
    "gated heads": Gated,
    "mean of maps": lambda: Maps(nn.AdaptiveAvgPool2d(1)),
    "maximum of maps": lambda: Maps(nn.AdaptiveMaxPool2d(1)),
    "transformer": Transformer,
    "cosine": Cosine,
    "separable": Separable,
    "functional dropout": lambda: InTraining(functional.dropout),
    "random depth": lambda: InTraining(lambda x: x * torch.bernoulli(torch.full((len(x), 1), 0.8))),
    "batch statistics": lambda: InTraining(lambda x: (x - x.mean(dim=0)) / (x.std(dim=0) + 1e-5)),
    "in pieces": InPieces,
    "recurrent": Recurrent,
    "logistic": lambda: nn.Sequential(nn.Flatten(), nn.Linear(1024, K)),
}

GUILTY: dict[str, tuple[str, Build]] = {
    "relu": ("P023", lambda: Net(torch.relu)),
    "relu in place": ("P023", lambda: Net(torch.relu_)),
    "tanh": ("P023", lambda: Net(torch.tanh)),
    "sigmoid": ("P023", lambda: Net(nn.Sigmoid())),
    "clamp": ("P023", lambda: Net(lambda logits: logits.clamp(-10, 10))),
    "gelu": ("P023", lambda: Net(nn.GELU())),
    "scaled relu": ("P023", lambda: Net(nn.Sequential(nn.ReLU(), Scale()))),
    "batch norm of relu": ("P023", lambda: Net(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(K)))),
    "half of them": ("P023", lambda: Net(half_relu)),
    "two tanh heads": ("P023", lambda: TwoHeads(torch.tanh)),
    "relu of maps": ("P023", lambda: Maps(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1)))),
    "softmax": ("P024", lambda: Net(nn.Softmax(dim=1))),
    "softmax by hand": ("P024", lambda: Net(lambda logits: functional.log_softmax(logits, dim=1).exp())),
    "nothing between": ("P025", Unbent),
    "frozen batch norm": ("P026", lambda: Residual(freeze=True)),
    "frozen weights moved": ("P026", Drifting),
    "scaled in training": ("P027", lambda: InTraining(lambda x: x / 255)),
}
