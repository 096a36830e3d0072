# SPDX-License-Identifier: Apache-2.0
"""One-sided exchanges: a kernel puts rows of tokens straight into the memories of other ranks, as DeepEP's do.

Low-latency kernels send a row to every expert, and start fast; throughput kernels send a row once to each rank, from as
many blocks (SMs) as they are given. Over NVLink and the network at once, an exchange ends when both are done. Source:
DeepEP (deepseek-ai, MIT), README and csrc/kernels; numbers are those of the link's part and of the network port.

Left out: that throughput kernels forward rows between nodes by the GPU of equal number, over NVLink there.
"""

from __future__ import annotations

from typing import NamedTuple

from simsparse.config.parts.link import PutKernel, PutKernels

NETWORK_START_S = 2e-6
"""What an exchange starts later where it leaves the node. Assumed: a write over InfiniBand."""


class PutShape(NamedTuple):
    """An exchange of one rank: ``tokens`` rows of ``row_bytes`` to ``top_k`` of ``experts`` on ``ranks`` ranks.

    ``board``: ranks of a node; ``blocks``: SMs that a throughput kernel has, 0 of a low-latency one.
    """

    tokens: int
    row_bytes: float
    top_k: int
    experts: int
    ranks: int
    board: int = 8
    blocks: int = 0


def put_seconds(kernels: PutKernels, way: str, shape: PutShape, link: float, network: float = 0.0) -> float:
    """Seconds of an exchange; ``way`` is dispatch or combine, ``link`` and ``network`` bytes per second of a rank."""
    kernel: PutKernel = getattr(kernels.throughput if shape.blocks else kernels.low_latency, way)
    near, far = sent_bytes(shape)
    rate = min(kernel.rate.si, link)
    if shape.blocks and kernel.block is not None:
        rate = min(rate, shape.blocks * kernel.block.si)
    start = kernel.start.si + shape.experts * kernel.expert.si
    inside = start + near / rate
    return max(inside, start + NETWORK_START_S + far / network) if far else inside


def sent_bytes(shape: PutShape) -> tuple[float, float]:
    """Bytes that a rank sends within its node and to others, experts chosen alike often.

    A low-latency kernel sends the rows of its own experts too.
    """
    board = min(shape.board, shape.ranks)
    if not shape.blocks:
        whole = shape.tokens * shape.top_k * shape.row_bytes
        return whole * board / shape.ranks, whole * (shape.ranks - board) / shape.ranks
    each = 1 - (1 - 1 / shape.ranks) ** shape.top_k
    nodes = shape.ranks // board
    other = (nodes - 1) * (1 - (1 - 1 / nodes) ** shape.top_k) if nodes > 1 else 0.0
    return (board - 1) * each * shape.tokens * shape.row_bytes, other * shape.tokens * shape.row_bytes
