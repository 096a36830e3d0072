# SPDX-License-Identifier: Apache-2.0
"""Writes data/sat/layers.csv: the training steps of SAT's five models as traced from torch on the meta device.

Run from the repository's root with torch installed: python tests/validation/sat_layers.py
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

import simsparse as ss
from simsparse.core import Op, OpKind, Trace
from simsparse.models.by_name import build_model

OUT = Path(__file__).parent / "data" / "sat" / "layers.csv"
COLUMNS = ("model", "stage", "role", "layer", "kind", "dims", "vector_read", "vector_write", "vector_flops")


class Sum(nn.Module):
    """x + f(x)."""

    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.f(x)


def conv(c_in: int, c_out: int, pool: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU, pooling."""
    layers = [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(pool)] if pool > 1 else []))


def resnet9() -> nn.Module:
    """The ResNet-9 of fast CIFAR-10 training (Page, How to train your ResNet; 6.6 M parameters)."""
    return nn.Sequential(
        conv(3, 64), conv(64, 128, 2), Sum(nn.Sequential(conv(128, 128), conv(128, 128))), conv(128, 256, 2),
        conv(256, 512, 2), Sum(nn.Sequential(conv(512, 512), conv(512, 512))), nn.MaxPool2d(4), nn.Flatten(),
        nn.Linear(512, 10),
    )  # fmt: skip


def vgg19() -> nn.Module:
    """VGG-19 for CIFAR: 16 convolutions with batch normalisation, one linear layer."""
    widths = (64, 64, 128, 128, 256, 256, 256, 256, *(512,) * 8)
    pooled = (1, 3, 7, 11, 15)
    blocks = [conv(a, b, 2 if i in pooled else 1) for i, (a, b) in enumerate(pairwise((3, *widths)))]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(512, 100))


def rows(model: str, trace: Trace) -> Iterator[list[object]]:
    """One row a product, with the vector work that follows it; vector work before the first product stands alone."""
    unit: list[Op] = []
    for op in [*trace.ops, None]:
        starts = op is None or op.kind != OpKind.ELEMENTWISE or op.label == "update"
        if starts and unit:
            yield row(model, unit)
        unit = [op] if starts and op is not None else [*unit, op] if op is not None else []


def row(model: str, unit: list[Op]) -> list[object]:
    """A chain of vector work reads what its largest operator reads and writes what its last one writes."""
    head = unit[0]
    product = head.kind != OpKind.ELEMENTWISE
    vector = unit[1:] if product else unit
    stage = "update" if head.label == "update" else "bwd" if "bwd" in f"{head.label} {head.name}" else "fwd"
    dims = " ".join(f"{key}={value}" for key, value in head.dims.items()) if product else ""
    return [
        model, stage, head.label if product else "", head.module, str(head.kind) if product else "vector", dims,
        max((op.dims["read_bytes"] for op in vector), default=0), vector[-1].dims["write_bytes"] if vector else 0,
        sum(op.dims["flops"] for op in vector),
    ]  # fmt: skip


def traces() -> Iterator[tuple[str, Trace]]:
    """Training steps of one sample in fp16 with SGD and momentum."""
    made: dict[str, tuple[str | Callable[[], nn.Module], int]] = {
        "ResNet9 CIFAR-10": (resnet9, 32), "VGG19 CIFAR-100": (vgg19, 32), "ViT-B/16 ImageNet": ("vit-b16", 224),
        "ResNet18 Tiny ImageNet": ("resnet-18", 64), "ResNet50 ImageNet": ("resnet-50", 224),
    }  # fmt: skip
    for name, (make, size) in made.items():
        with torch.device("meta"):
            model = (build_model(make) if isinstance(make, str) else make()).half()
            image = torch.randn(1, 3, size, size, dtype=torch.float16)
            yield name, ss.trace_model(model, image, "train", optimizer="momentum")


if __name__ == "__main__":
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for name, trace in traces():
            writer.writerows(rows(name, trace))
