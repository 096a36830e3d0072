# SPDX-License-Identifier: Apache-2.0
"""Beats picked by hand for the floating-point PE, with the bits of the sums worked out by hand."""

from __future__ import annotations

import numpy as np

from simsparse.rtl.blocks.floating import NMDotPEFp16
from simsparse.rtl.vectors import Beats

ZERO, MINUS_ZERO, LEAST, ONE, THREE, LARGE, INF = 0x0000, 0x8000, 0x0001, 0x3C00, 0x4200, 0x6C00, 0x7C00
SUMS = (
    ([(LARGE, LARGE), (ONE, ONE)], 0x4B800000),  # 4096 * 4096 + 1 is halfway to 2**24 + 2: to the even one, down
    ([(LARGE, LARGE), (THREE, ONE)], 0x4B800002),  # 2**24 + 3 is halfway from 2**24 + 2 to 2**24 + 4: up
    ([(LEAST, LEAST)], 0x27800000),  # 2**-24 squared
    ([(MINUS_ZERO, ONE)], 0x00000000),  # a sum starts from +0
    ([(INF, ONE), (LARGE, LARGE)], 0x7F800000),
    ([(INF, ZERO)], 0x7FC00000),
    ([(ONE, ONE), (ONE, ONE), (ONE, ONE)], 0x40400000),
)


def floating(block: NMDotPEFp16) -> tuple[Beats, dict[str, list[list[int]]]]:
    """Each sum's pairs in lane 0, dense; the other lanes hold zeros."""
    pairs = [pair for beats, _ in SUMS for pair in beats]
    last = np.zeros((len(pairs), 1), np.int64)
    last[np.cumsum([len(beats) for beats, _ in SUMS]) - 1] = 1
    activation, weight = (np.zeros((len(pairs), lanes), np.int64) for lanes in (block.m, block.n))
    activation[:, 0], weight[:, 0] = np.array(pairs).T
    beats = {
        "dense": np.ones((len(pairs), 1), np.int64), "last": last, "activation": activation, "weight": weight,
        "index": np.zeros((len(pairs), block.n), np.int64),
    }  # fmt: skip
    return beats, {"sum": [[total] for _, total in SUMS]}
