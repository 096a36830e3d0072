# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network in plain torch, the first trace without transformers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):  # type: ignore[misc]
    """Two 3 x 3 convolutions with batch norm and a shortcut (He et al., arXiv:1512.03385)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU()
        self.shortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False) if c_in != c_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, c_in, h, w) to (batch, c_out, h / stride, w / stride)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


class SmallCnn(nn.Module):  # type: ignore[misc]
    """Ten classes from 32 x 32 images: a stem, three residual blocks, average pooling, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 3, 32, 32) to (batch, 10)."""
        x = self.blocks(functional.relu(self.norm(self.stem(images))))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))
