# SPDX-License-Identifier: Apache-2.0
"""Sparsity of real tensors: weights, and activations where they are consumed.

Zeros that padding puts round an input are told apart from zeros that the model computed: a layer of
ReLU, batch norm and padding feeds the next one non-zeros with a rim of zeros, which no sparse
hardware can be credited for skipping on another shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from simsparse.core import DENSE, Sparsity
from simsparse.trace.statistics.mask_facts import Mask, mask_facts, nm_patterns, pattern_of, share

WeightFacts = tuple[Sparsity, dict[str, Any]]
_IN_NUMPY = (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)
"""Types that NumPy has too."""


@dataclass(frozen=True)
class WidthWindow:
    """How a convolution reads its input: kernel, stride, padding and dilation, one number an axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


def weight_facts(weight: torch.Tensor) -> WeightFacts:
    """The pattern of a real weight, outputs first, and what was measured of it.

    Facts: ``density``; ``nm``, see ``nm_patterns``; ``weight``, the structure of the mask, where the
    weight has zeros.
    """
    kept = nonzero(weight)
    if kept.all():
        return DENSE, {"density": 1.0, "nm": []}
    mask = _rows(np.moveaxis(kept, 1, -1).reshape(len(kept), -1) if kept.ndim > 2 else kept)
    facts: dict[str, Any] = {
        "density": round(int(np.count_nonzero(mask)) / mask.size, 6),
        "nm": [str(pattern) for pattern in nm_patterns(mask)],
        "weight": mask_facts(mask),
    }
    return pattern_of(mask, weight.element_size() * 8), facts


def input_facts(x: torch.Tensor, pads: Sequence[int] = (), window: WidthWindow | None = None) -> dict[str, Any]:
    """What a real input shows at its consumer.

    Parameters
    ----------
    x: (..., k), or (batch, channels, ...) with the ``window`` of the convolution that reads it.
    pads: zeros that an operation before put at each end of the last dimensions, as torch's pad takes
        them.

    Facts: ``input_density`` of the elements that are no padding; ``padding``, the share of padding
    among what the consumer reads, and ``padding_macs``, its share of a convolution's products, where
    there is any; ``input``, the structure of the mask over what is no padding, where that has zeros.
    """
    inner = nonzero(interior(x, pads))
    count = int(np.count_nonzero(inner))
    facts: dict[str, Any] = {"input_density": share(count, inner.size)}
    read = _read_elements(x, window)
    if read != inner.size:
        facts["padding"] = round(1 - inner.size / read, 4)
    if window is not None and read != inner.size:
        facts["padding_macs"] = round(1 - _real_products(x, pads, window), 4)
    if count != inner.size:
        mask = _input_rows(inner, window)
        facts["input"] = {**mask_facts(mask), **_zero_maps(mask, inner.shape[0], window)}
    return facts


def input_mask(inner: torch.Tensor, window: WidthWindow | None) -> Mask:
    """Non-zeros as (rows, k): k the features, or the channels at each place of a convolution's input."""
    return _input_rows(nonzero(inner), window)


def mask_of(values: torch.Tensor) -> Mask:
    """Non-zeros of a real or boolean tensor as (rows, last dimension)."""
    return _rows(nonzero(values))


def nonzero(values: torch.Tensor) -> Mask:
    """Which elements are not zero, in the shape of ``values``; NumPy's comparison is several times as fast as torch's.

    A NaN is no zero.
    """
    plain = values.detach()
    known = plain.dtype in _IN_NUMPY and plain.layout is torch.strided
    return np.asarray(plain.cpu().numpy() != 0 if known else (plain != 0).cpu().numpy())


def _input_rows(inner: Mask, window: WidthWindow | None) -> Mask:
    return _rows(inner if window is None else np.moveaxis(inner, 1, -1))


def _rows(kept: Mask) -> Mask:
    """``kept`` as (rows, last dimension)."""
    return np.ascontiguousarray(kept.reshape(-1, kept.shape[-1] if kept.ndim else 1))


def weight_rows(weight: torch.Tensor) -> torch.Tensor:
    """A weight as (outputs, reduction), input channels innermost."""
    return weight.movedim(1, -1).reshape(weight.shape[0], -1) if weight.dim() > 2 else weight


def weight_from_rows(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``weight_rows`` undone: (outputs, reduction) in the shape of ``like``."""
    if like.dim() <= 2:
        return rows.reshape(like.shape)
    return rows.reshape(like.shape[0], *like.shape[2:], like.shape[1]).movedim(-1, 1)


def interior(x: torch.Tensor, pads: Sequence[int]) -> torch.Tensor:
    """``x`` without what ``pads`` added at the ends of its last dimensions; all of it where nothing is left."""
    inner = x
    for i in range(len(pads) // 2):
        before, after = max(0, pads[2 * i]), max(0, pads[2 * i + 1])
        axis = x.dim() - 1 - i
        length = x.shape[axis] - before - after
        if length <= 0:
            return x
        inner = inner.narrow(axis, before, length)
    return inner


def _zero_maps(mask: Mask, samples: int, window: WidthWindow | None) -> dict[str, float]:
    """Share of a convolution's (sample, channel) maps without a non-zero; a sample's places are rows that follow."""
    if window is None:
        return {}
    packed = np.packbits(mask, axis=1)
    seen = np.bitwise_or.reduce(packed.reshape(samples, -1, packed.shape[1]), axis=1)
    maps = np.unpackbits(seen, axis=1, count=mask.shape[1])
    return {"zero_maps": share(int((maps == 0).sum()), maps.size)}


def _read_elements(x: torch.Tensor, window: WidthWindow | None) -> int:
    """Elements of ``x`` with the padding that the consumer adds."""
    if window is None:
        return int(x.numel())
    total = int(x.shape[0]) * int(x.shape[1])
    for size, pad in zip(x.shape[2:], window.padding, strict=True):
        total *= int(size) + 2 * pad
    return total


def _real_products(x: torch.Tensor, pads: Sequence[int], window: WidthWindow) -> float:
    """Share of a convolution's products whose input is no padding: taps that meet the interior, by axis."""
    result = 1.0
    spatial = list(x.shape[2:])
    for axis, size in enumerate(spatial):
        i = len(spatial) - 1 - axis
        before, after = (max(0, pads[2 * i]), max(0, pads[2 * i + 1])) if 2 * i + 1 < len(pads) else (0, 0)
        places = _read_places(size, axis, window)
        result *= float(((places >= before) & (places < size - after)).mean())
    return result


def _read_places(size: int, axis: int, window: WidthWindow) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places along an axis that each tap of each output reads, shape (outputs, taps); padding is outside."""
    kernel, stride = window.kernel[axis], window.stride[axis]
    padding, dilation = window.padding[axis], window.dilation[axis]
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return np.arange(outputs)[:, None] * stride + np.arange(kernel)[None] * dilation - padding
