# SPDX-License-Identifier: Apache-2.0
"""nm_encode24 on masked weights, half of whose zeros are -0.0: the values and places that PyTorch keeps."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from simsparse.rtl.block import RtlBlock
from simsparse.rtl.blocks.encode24 import NMEncode24
from simsparse.rtl.blocks.formats import BF16, FP16
from simsparse.rtl.run import run
from simsparse.rtl.stream import DrivenStream
from simsparse.rtl.vectors import wrapped

ALWAYS = np.ones(1, np.bool_)
WORD = 4
"""Groups of a metadata word of 16 bits."""


def encoded(block: RtlBlock, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (groups, 2), metadata and errors of groups (groups, 4) through the RTL."""
    beats = {"dense": wrapped(groups.reshape(-1, 4 * WORD).astype(np.int64), 16)}
    stream = DrivenStream(beats, len(groups) // WORD, ALWAYS, ALWAYS)
    seen = run(block, stream, len(groups) // WORD, 10_000).outputs
    return seen["value"].reshape(-1, 2) & 0xFFFF, seen["metadata"].reshape(-1), seen["error"]


@pytest.mark.torch
@pytest.mark.usefixtures("_simulator")
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_masked_weights_are_kept_as_pytorch_keeps_them(kind: str) -> None:
    import torch
    from torch.sparse import _semi_structured_conversions as conversions

    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(64, 256, generator=generator).to(getattr(torch, kind))
    places = torch.rand(64, 64, 4, generator=generator).argsort(dim=2).reshape(64, 256)
    masked = weights * (places < 2)
    zeros = masked == 0
    assert 0.4 < (zeros & masked.signbit()).sum() / zeros.sum() < 0.6
    values, _ = conversions.sparse_semi_structured_from_dense_cutlass(masked)

    block = NMEncode24(WORD, bits=16, floating=FP16 if kind == "float16" else BF16)
    bits = masked.view(torch.int16).numpy().reshape(-1, 4)
    got, metadata, errors = encoded(block, bits)
    assert not errors.any()
    assert (got.reshape(64, 128) == values.view(torch.int16).numpy().astype(np.int64) & 0xFFFF).all()
    kept = np.stack([metadata & 3, metadata >> 2], axis=1)
    dense = np.zeros((len(kept), 4), np.int64)
    np.put_along_axis(dense, kept, got, axis=1)
    assert (dense == np.where(zeros.numpy().reshape(-1, 4), 0, bits.astype(np.int64) & 0xFFFF)).all()


@pytest.mark.usefixtures("_simulator")
def test_a_group_between_negative_zeros() -> None:
    """-0.0, 1, 2, -0.0 keeps 1 and 2."""
    groups = np.tile(np.array([-0.0, 1, 2, -0.0], np.float16).view(np.int16), (WORD, 1))
    values, metadata, errors = encoded(NMEncode24(WORD, bits=16, floating=FP16), groups)
    assert values.astype(np.uint16).view(np.float16).tolist() == [[1, 2]] * WORD
    assert (metadata.tolist(), errors.tolist()) == ([0b1001] * WORD, [[0]])
