# SPDX-License-Identifier: Apache-2.0
"""Level 2 of a product with masked weights on PIM stacks: from the op and its mask to cycles, causes and counts."""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.pim import PimDram, PimPart
from simsparse.core import ActionCounts, Op, OpCycles
from simsparse.devices.base import Mask
from simsparse.devices.gemm_list import single_product
from simsparse.devices.pim_cycles import ACTIVATE, INTERNAL, MAC, with_refresh
from simsparse.devices.pim_sparse import SparseProduct, cycle_causes, run_sparse
from simsparse.dram.parts import pim_device
from simsparse.errors import MappingError
from simsparse.sparsity.drawn import Operand, drawn
from simsparse.sparsity.nonzeros import NonZeros


class MaskedProduct:
    """Products of one part on all its ``channels``.

    Zeros are stored and multiplied where the part has no section select. With a selector, a kept weight has the index
    bits of the op's storage format.
    """

    def __init__(self, part: PimPart, channels: int) -> None:
        self._part, self._channels = part, channels

    def cycles(self, op: Op, weight_mask: Mask | None, input_mask: Mask | None, seed: int) -> OpCycles:
        """See Device.cycles. Raises MappingError."""
        dram = self._part.dram
        if dram is None or dram.program in ("pairs", "aim"):
            raise MappingError(f"{self._part.name} has no cycle core for masks", key=op.name)
        tokens, n, k = single_product(op)
        if input_mask is not None:
            raise MappingError(f"{self._part.name} follows no zeros of inputs", key=op.name)
        if weight_mask is not None and weight_mask.shape != (n, k):
            raise MappingError(f"a mask of shape {weight_mask.shape} does not fit; expected {(n, k)}", key=op.name)
        kept = NonZeros.of(weight_mask) if weight_mask is not None else drawn(
            op.weight_sparsity, n, k, Operand.WEIGHT, seed
        )  # fmt: skip
        return self._outcome(dram, kept.nnz * tokens, op, self._run(dram, op, kept, tokens))

    def _run(self, dram: PimDram, op: Op, kept: NonZeros, tokens: int) -> SparseProduct:
        select, (n, k) = self._part.select, kept.shape
        bits = float(op.w_dtype.bits)
        index = 0.0
        if select is not None and select.gathers:
            index = op.weight_sparsity.stored_bits(n, k, 0, op.weight_format) / max(1, kept.nnz)
        device = pim_device(self._part)
        return run_sparse(device, dram.unit, select, kept, (bits, bits + index), tokens, self._channels)

    def _outcome(self, dram: PimDram, macs: int, op: Op, found: SparseProduct) -> OpCycles:
        commands, compute, stacks = self._part.commands, self._part.compute, self._part.memory.stacks.si
        total = int(with_refresh(commands, np.array(float(found.run.ticks))))
        opened = found.run.commands[pim_device(self._part).lockstep[dram.unit].opens]
        rate = compute.macs[op.dtype].si * compute.units.si * stacks * compute.clock.si
        causes = {**cycle_causes(found, commands.interval.whole), "refresh": total - found.run.ticks}
        counts = {
            ACTIVATE: round(opened * commands.banks.si * found.of_all / max(1, found.commands)),
            INTERNAL: round(found.of_all * commands.banks.si * commands.column.si), MAC: macs,
        }  # fmt: skip
        return OpCycles(total, macs / (total / commands.clock.si * rate), ActionCounts(counts), causes)
