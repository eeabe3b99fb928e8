"""LeNet-5 on MNIST in plain PyTorch, to be read from top to bottom: python lenet5_mnist.py FOLDER

FOLDER holds MNIST's four files, such as train-images-idx3-ubyte.gz; without it, PARIBUS_DATA/mnist is taken.
"""

import gzip
import os
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad

torch.manual_seed(0)  # The same numbers again. Another seed gives others: one run alone is no evidence yet.
folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["PARIBUS_DATA"] + "/mnist")


def read(name):
    """Return images (N, 1, 32, 32) from 0 to 1, and labels (N,)."""
    pixels = gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]  # Behind the header.
    labels = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
    images = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
    images = pad(images.reshape(-1, 1, 28, 28), (2, 2, 2, 2)) / 255  # 32x32, as in the paper.
    return images, torch.tensor(list(labels))


images, labels = read("train")
shuffled = torch.randperm(len(images))
val, train = shuffled[: len(images) // 12], shuffled[len(images) // 12 :]  # 5,000 to look at, 55,000 to learn from.
mean, std = images[train].mean(), images[train].std()  # Of what is learnt from, and of nothing else.
images = (images - mean) / std

# LeCun, Bottou, Bengio, Haffner 1998. It ends in logits: `cross_entropy` does the softmax itself.
network = nn.Sequential(
    nn.Conv2d(1, 6, kernel_size=5), nn.Tanh(), nn.AvgPool2d(2),  # (N, 6, 14, 14)
    nn.Conv2d(6, 16, kernel_size=5), nn.Tanh(), nn.AvgPool2d(2),  # (N, 16, 5, 5)
    nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
)  # fmt: skip
optimiser = torch.optim.SGD(network.parameters(), lr=0.1)


@torch.no_grad()  # Nothing is learnt from what is only looked at.
def evaluate(images, labels):
    network.eval()  # Without dropout and batch norm this changes nothing; forgotten where there are any, it does.
    logits = torch.cat([network(part) for part in images.split(1000)])
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return f"loss {cross_entropy(logits, labels):.4f}, accuracy {100 * accuracy:.2f} %"


for epoch in range(1, 6):
    network.train()
    for batch in train[torch.randperm(len(train))].split(128):  # In another order in every epoch.
        loss = cross_entropy(network(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"epoch {epoch}, val: {evaluate(images[val], labels[val])}")  # Val may be looked at to choose, often.

images, labels = read("t10k")
print(f"test: {evaluate((images - mean) / std, labels)}")  # Test once, when nothing is left to choose.
