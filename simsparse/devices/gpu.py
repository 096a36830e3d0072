# SPDX-License-Identifier: Apache-2.0
"""GPUs: closed forms of PyTorch's kernels, replayed in a CUDA graph.

Left out: kernels that run at the same time on one GPU, weights that an earlier kernel left in the
L2 cache, clocks that change with temperature, power that depends on the values multiplied;
of a MOE_FFN that no fused kernel runs, the gathering and scattering of tokens.

Sparsity: only 2:4 has hardware. Weights that keep at most two of every aligned four (2:4 itself,
1:4, 1:8 and other N:M with N <= 2 and M a multiple of four) run PyTorch's semi-structured path, in 16 bits on every
card that has 2:4 units, in fp8 and int8 where the card's library has such kernels (measured on an H200).
All other patterns are stored and multiplied as dense ones, zeros included. Weights of 16 bits that an op stores in csr
or in bsr, in blocks that its pattern keeps whole, run the library's sparse kernels. Weights in another format that an
op names are read as they are stored and decoded on their way to the multipliers, which multiply them as dense ones
("load as sparse, compute as dense": Xia et al., Flash-LLM, PVLDB 17(2), 2023). No kernel that does so was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_weight_only import GpuRowKernel
from simsparse.config.quantity import Part
from simsparse.core import Action, DType, Op, OpKind, Unit
from simsparse.core.kinds.gather import GATHER
from simsparse.core.kinds.key_index import KEY_INDEX
from simsparse.devices.base import (
    DEVICES,
    SAVING,
    CopyRates,
    CostArrays,
    Device,
    Floats,
    PowerBudget,
    whole_counts,
)
from simsparse.devices.decode import with_decoding
from simsparse.devices.gpu_attention_kernels import ATTENTION_KINDS, narrow_cache
from simsparse.devices.gpu_counts import READ, VECTOR, WRITE
from simsparse.devices.gpu_evidence import HALF, Evidence
from simsparse.devices.gpu_kernels import Kernels, conv_seconds, kernel_seconds, kernels_of
from simsparse.devices.gpu_op_kernels import OP_KERNELS
from simsparse.devices.gpu_products import UNITS, unaligned_fp8
from simsparse.devices.gpu_rates import gemm_times, steady_times
from simsparse.devices.gpu_sparse24 import runs_24, types_24
from simsparse.devices.gpu_sparse_products import CSR, sparse_product
from simsparse.devices.gpu_zerocopy import zerocopy_seconds
from simsparse.devices.roofline import dominant, require_supported
from simsparse.sparsity import DENSE, Sparsity

SAVED: Action = (SAVING, "saved_picojoule")
"""What a card at its power limit saves: it lowers voltage and clock until power is the limit."""
PICOJOULE = 1e-12
TWO_OF_FOUR = Sparsity.parse("2:4")
FEW_TOKENS = 128
"""Below these no 16-bit 2:4 product of 220 random shapes measured on an H200 was faster than the dense one."""
SLOWER_24_FP8 = (
    "fp8 2:4 products take longer than dense ones for most shapes: their one kernel has tiles of 64 by 64 outputs, "
    "which read the operands from the L2 cache more often"
)
SLOWER_24 = (
    "2:4 products of few tokens take longer than dense ones: one kernel with tiles of 256 tokens serves all shapes, "
    "and token counts that 8 does not divide are padded by two more kernels"
)
WIDENS_AGAIN = (
    "PyTorch's kernel of narrow weights widens them again for every few tokens, so its time grows with the tokens; "
    "libraries with tiles for them (kernels: trtllm-1.2 in a part) are faster from a few tokens on"
)


@DEVICES.register("gpu")
class Gpu(Device):
    """One GPU; ops run one after the other."""

    kind: ClassVar[str] = "gpu"
    lanes: ClassVar[tuple[str, ...]] = ("compute", "h2d", "d2h")
    refusals: ClassVar[Mapping[str, str]] = {
        KEY_INDEX.name: "its kernel library has no kernel for an index of keys; serving engines have (vllm-0.22)",
    }
    part: GpuPart

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._evidence, self._types24 = Evidence(self.part), types_24(self.part)
        self._op_kinds = _op_kinds(tuple(OP_KERNELS), self.part.kernels.latent is not None)
        self._reasons: dict[tuple[str, DType, DType | None], str | None] = {}

    @property
    def op_kinds(self) -> frozenset[str]:
        """Kinds with a model of their own, those in OP_KERNELS, and an index where the library has one."""
        return self._op_kinds

    def unsuited(self, op: Op) -> str | None:
        key = (op.kind, op.dtype, op.weight_dtype)
        if key not in self._reasons:
            self._reasons[key] = self._reason(op)
        if reason := self._reasons[key]:
            return reason
        return narrow_cache(op, self.part.kernels) if op.kind in ATTENTION_KINDS else unaligned_fp8(op)

    def _reason(self, op: Op) -> str | None:
        kind, dtype = op.kind, op.dtype
        if op.unit is Unit.VECTOR:
            return None
        if op.w_dtype is not dtype and not self._widens(op):
            known = " or ".join(self.part.kernels.weight_only or ())
            able = f"for bf16 and fp16 linear layers with {known} weights" if known else "for one dtype alone"
            return f"{op.w_dtype} weights with {dtype} inputs: {self.part.kernels.name} has kernels {able}"
        tensor = [name for name in UNITS if name in self.part.compute.tensor and _has_kernel(kind, name)]
        if dtype not in (allowed := [*tensor, DType.FP32]):
            return f"no {kind} kernel for {dtype}; {self.part.name} has {', '.join(allowed)}"
        return None

    def _widens(self, op: Op) -> bool:
        """Whether the library widens the weights of ``op`` on their way to the multipliers."""
        return (
            op.kind == OpKind.LINEAR and op.dtype in HALF and str(op.w_dtype) in (self.part.kernels.weight_only or ())
        )

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        kernels = kernels_of(ops, self.part)
        times = kernel_seconds(self.part, kernels)
        contributors = {
            "launch": kernels.per_op(times.launch_s), "compute": kernels.per_op(times.compute_s),
            "memory": kernels.per_op(times.memory_s),
        }  # fmt: skip
        costs = with_decoding(self, ops, CostArrays(
            kernels.per_op(times.latency_s), contributors, dominant(contributors), kernels.counts,
            self._evidence.labels(self, ops), level,
        ))  # fmt: skip
        return replace(costs, counts={**kernels.counts, SAVED: self._saved(kernels, costs.latency_s)})

    def skips(self, op: Op) -> bool:
        return op.definition.prunable and (runs_24(op, self._types24) or sparse_product(op) is not None)

    def used_sparsity(self, op: Op) -> Sparsity:
        if sparse_product(op) is not None:
            return op.weight_sparsity
        return TWO_OF_FOUR if self.skips(op) else DENSE

    def notes(self, op: Op) -> tuple[str, ...]:
        return (*super().notes(op), *self._slower_24(op), *self._widens_again(op), *self._bands(op))

    @property
    def notes_dense(self) -> bool:
        return self._evidence.banded

    def _slower_24(self, op: Op) -> tuple[str, ...]:
        if not self.skips(op) or sparse_product(op) is not None:
            return ()
        if op.dtype is DType.FP8:
            return (SLOWER_24_FP8,)
        few = op.dtype in HALF and any(m < FEW_TOKENS for _, m, _, _ in op.gemms)
        return (SLOWER_24,) if few else ()

    def _widens_again(self, op: Op) -> tuple[str, ...]:
        known = self.part.kernels.weight_only or {}
        narrow = op.kind == OpKind.LINEAR and op.w_dtype is not op.dtype
        return (WIDENS_AGAIN,) if narrow and isinstance(known.get(str(op.w_dtype)), GpuRowKernel) else ()  # type: ignore[call-overload]

    def _bands(self, op: Op) -> tuple[str, ...]:
        bands = self._evidence.band(op, self.skips(op)), self._evidence.transferred(op)
        return tuple(band for band in bands if band is not None)

    @property
    def multiplies_24(self) -> bool:
        return self.part.compute.sparse24 is not None

    def far_read_seconds(self, op: Op, link_bytes_per_s: float) -> float | None:
        library = self.part.kernels.zerocopy
        if op.kind != GATHER.name:
            return None
        rows, size = (np.array(float(op.dims[dim])) for dim in ("rows", "row_bytes"))
        return float(zerocopy_seconds(library, link_bytes_per_s, rows, size, np.array(0.0)))

    @property
    def decode_rates(self) -> Mapping[str, float]:
        return {name: rate.si for name, rate in (self.part.decode or {}).items()}

    def _saved(self, kernels: Kernels, latency: Floats) -> NDArray[np.int64]:
        """Picojoules that each op takes less than at full clock and voltage, which the power limit lowers."""
        prices, power = self.prices, self.part.power
        full = sum((counts * prices[action] for action, counts in kernels.counts.items()), np.zeros(len(latency)))
        allowed = (power.limit.si - power.static.si) * latency
        return whole_counts(SAVED, np.maximum(0.0, full - allowed) / PICOJOULE)

    def call_seconds(self, op: Op) -> float | None:
        host = self.part.kernels.host
        if host is None:
            return None
        if op.kind == OpKind.COLLECTIVE:
            seconds = host.send_recv if op.label == "send_recv" else host.collective
            return (seconds or host.call).si
        if sparse_product(op) is not None:
            return (self.part.kernels.csr if op.weight_format == CSR else self.part.kernels.bsr).dispatch.si
        return (host.sparse24 if op.kind == OpKind.LINEAR and self.skips(op) else host.call).si

    @property
    def power_budget(self) -> PowerBudget | None:
        power = self.part.power
        if power.burst is None:
            return None
        speed = power.burst.rate.si / self.part.gemm.half.sustained.si
        return PowerBudget(power.limit.si - power.static.si, speed, power.burst.window.si)

    def burst_gain(self, ops: Sequence[Op]) -> Floats:
        """What GEMMs and convolutions gain on a card that has power to spare; nothing else does."""
        budget, kernels = self.power_budget, kernels_of(ops, self.part)
        if budget is None:
            return np.zeros(len(ops))
        gained = [
            steady.latency_s - burst.latency_s
            for steady, burst in (
                (steady_times(self.part, kernels.gemms), gemm_times(self.part, kernels.gemms, budget.speed)),
                (conv_seconds(self.part, kernels), conv_seconds(self.part, kernels, budget.speed)),
            )
        ]
        return kernels.products_per_op(*gained)

    @cached_property
    def prices(self) -> Mapping[Action, float]:
        energy = self.part.energy
        prices: dict[Action, float] = {
            READ: energy.hbm_read_byte.si, WRITE: energy.hbm_write_byte.si, VECTOR: energy.vector_flop.si,
            SAVED: -PICOJOULE,
        }  # fmt: skip
        for component, by_dtype in (("tensor", energy.tensor_mac), ("tensor24", energy.tensor24_mac or {})):
            prices.update({(component, f"mac_{dtype}"): price.si for dtype, price in by_dtype.items()})
        return prices

    @property
    def static_watts(self) -> float:
        return self.part.power.static.si

    @property
    def copy_rates(self) -> CopyRates:
        return CopyRates.of(self.part.memory)

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.memory.capacity.si)


@cache
def _op_kinds(kernels: tuple[str, ...], indexes: bool) -> frozenset[str]:
    own = {"linear", "conv2d", "matmul", "moe_ffn", *ATTENTION_KINDS, *kernels}
    return frozenset(own | {KEY_INDEX.name} if indexes else own)


def _has_kernel(kind: str, dtype: DType) -> bool:
    """PyTorch's attention takes 16-bit and fp32 operands only."""
    return kind not in ATTENTION_KINDS or dtype in (DType.BF16, DType.FP16)
