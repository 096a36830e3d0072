# SPDX-License-Identifier: Apache-2.0
"""Seconds of an index of cached keys on a GPU: scores in fp32, written, and read by the kernel that chooses the best.

Left out: reading the keys of a prompt once for several queries, which the L2 cache does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.core import DType, Op
from simsparse.core.kinds.key_index import KEY_INDEX, SCORE_BYTES
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_counts import READ, VECTOR, WRITE, GpuCounts, Indexes, count_macs, mac_action
from simsparse.devices.gpu_rates import peak


@dataclass(frozen=True)
class KeyIndexes:
    """Indexes of one ``dtype``: ``macs`` and ``scores`` in all sequences, bytes of ``keys``, tokens ``cached`` in a
    sequence, of which ``selected`` are chosen, ``prompt`` 1 with many queries a sequence."""

    dtype: DType
    macs: Floats
    scores: Floats
    keys: Floats
    cached: Floats
    selected: Floats
    prompt: Floats

    @classmethod
    def of(cls, dtype: DType, ops: Sequence[Op]) -> KeyIndexes:
        """The indexes of ``ops``, all of one type."""

        def column(values: Sequence[float]) -> Floats:
            return np.array(values, np.float64)

        return cls(
            dtype, column([op.dense_macs for op in ops]), column([KEY_INDEX.scores(op) for op in ops]),
            column([op.kv_bytes for op in ops]), column([op.dims["kv_len"] for op in ops]),
            column([op.dims["selected"] for op in ops]), column([op.dims["q_len"] > 1 for op in ops]),
        )  # fmt: skip

    def seconds(self, part: GpuPart) -> KernelTimes:
        """Seconds of each index. The part's library has the kernels."""
        card, model = Card.of(part), part.kernels.latent
        assert model is not None
        index = model.index
        moved = self.keys + 2 * SCORE_BYTES * self.scores
        memory = moved / (index.memory.si * card.memory_bytes_per_s)
        compute = 2 * self.macs / (index.tensor.si * peak(part, self.dtype))
        launch = index.launch.si + np.where(self.cached > self.selected, index.select.si, 0.0)
        return KernelTimes(launch + compute + memory, compute, memory, launch)


def key_indexes(ops: Sequence[Op], counts: GpuCounts) -> list[tuple[Indexes, KeyIndexes]]:
    """Indexes of keys by type."""
    by_type: dict[DType, list[int]] = {}
    for i, op in enumerate(ops):
        if op.kind == KEY_INDEX.name:
            by_type.setdefault(op.dtype, []).append(i)
    found = []
    for dtype, places in by_type.items():
        own, owner = [ops[i] for i in places], np.array(places, np.int64)
        indexes = KeyIndexes.of(dtype, own)
        scored = SCORE_BYTES * indexes.scores
        counts.add(READ, owner, np.array([op.input_bytes for op in own], np.float64) + scored)
        counts.add(WRITE, owner, np.array([op.output_bytes for op in own], np.float64) + scored)
        counts.add(VECTOR, owner, np.array([KEY_INDEX.vector_flops(op) for op in own], np.float64))
        count_macs(owner, [mac_action(dtype)] * len(own), indexes.macs, counts)
        found.append((owner, indexes))
    return found
