"""Operators: what a workload asks of a machine, in shapes and bytes, free of any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from simsparse.core.kernel import KernelCall
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType, bytes_of
from simsparse.errors import SpecError
from simsparse.sparsity import DENSE, Sparsity


class OpKind(StrEnum):
    """Kinds of operator. The dims of each stand in DIMS."""

    LINEAR = "linear"
    CONV2D = "conv2d"
    MATMUL = "matmul"
    ATTENTION = "attention"
    MOE_FFN = "moe_ffn"
    ELEMENTWISE = "elementwise"
    TRANSFER = "transfer"
    COLLECTIVE = "collective"
    OTHER = "other"


DIMS: dict[OpKind, tuple[str, ...]] = {
    OpKind.LINEAR: ("m", "n", "k"),
    OpKind.CONV2D: ("batch", "c_in", "c_out", "h_in", "w_in", "h_out", "w_out", "kh", "kw", "groups"),
    OpKind.MATMUL: ("batch", "m", "n", "k"),
    OpKind.ATTENTION: ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "causal"),
    OpKind.MOE_FFN: ("tokens", "d_model", "d_ff", "experts", "top_k", "gated"),
    OpKind.ELEMENTWISE: ("read_bytes", "write_bytes", "flops"),
    OpKind.TRANSFER: ("bytes",),
    OpKind.COLLECTIVE: ("bytes", "ranks"),
    OpKind.OTHER: ("read_bytes", "write_bytes", "flops"),
}
"""The integer dims of each kind, in order. ``y[m, n] = x[m, k] @ w[n, k].T`` for LINEAR."""

Signature = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One operator of a trace.

    ``dims`` are the integers that DIMS names for ``kind``. ``label`` refines a kind (``rmsnorm``,
    ``all_to_all``). ``weight`` names the parameter that the op reads, so that residency and sharing
    can be followed; ``module`` is the torch module path. ``deps`` are names of earlier ops.
    ``stats`` are measured facts about the real weights or activations (density, N:M conformity).
    ``bias``: a vector of ``w_dtype`` is read with the weights, one element an output. ``latent_kv``:
    the values of an ATTENTION are the first ``v_head_dim`` elements of its keys, so that one cache
    is read for both (multi-head latent attention, absorbed).
    ``kernels``: what the framework launched for an op that a good kernel would fuse; empty where that is one kernel,
    the op itself. Ops with equal ``signature`` cost the same on the same part.
    """

    kind: OpKind
    name: str
    dims: Mapping[str, int]
    dtype: DType = DType.BF16
    weight_dtype: DType | None = None
    weight_sparsity: Sparsity = DENSE
    input_sparsity: Sparsity = DENSE
    label: str = ""
    module: str = ""
    weight: str | None = None
    deps: tuple[str, ...] = ()
    routing: Routing | None = None
    src: str | None = None
    dst: str | None = None
    bias: bool = False
    latent_kv: bool = False
    stats: Mapping[str, Any] = field(default_factory=dict)
    kernels: tuple[KernelCall, ...] = ()

    def __post_init__(self) -> None:
        expected = DIMS[self.kind]
        if set(self.dims) != set(expected):
            raise SpecError(
                f"{self.kind} takes {', '.join(expected)}; got {', '.join(self.dims)}", key=f"{self.name}.dims"
            )
        for key, value in self.dims.items():
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
                raise SpecError(f"{value!r} is not a whole number from 0 to 2**62", key=f"{self.name}.{key}")

    @property
    def w_dtype(self) -> DType:
        """Element type of the weights: ``weight_dtype``, else ``dtype``."""
        return self.weight_dtype or self.dtype

    @property
    def signature(self) -> Signature:
        """What the cost of the op depends on: kind, dims, types, sparsity, routed counts."""
        counts = tuple(sorted(self.routing.counts)) if self.routing else None
        return (
            self.kind, self.label if self.kind is OpKind.COLLECTIVE else "",
            tuple(self.dims[key] for key in DIMS[self.kind]), self.dtype, self.w_dtype,
            self.weight_sparsity, self.input_sparsity, counts, self.src, self.dst, self.bias, self.latent_kv,
        )  # fmt: skip

    def with_(self, **changes: Any) -> Op:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @property
    def expert_counts(self) -> tuple[int, ...]:
        """Tokens of each expert that is hit, of a MOE_FFN op."""
        if self.routing is None:
            raise SpecError("a moe_ffn op needs routing", key=self.name)
        return tuple(count for count in self.routing.counts if count)

    @property
    def gemms(self) -> tuple[tuple[int, int, int, int], ...]:
        """The GEMMs in the op as (count, m, n, k), weights as the n x k operand.

        A convolution counts as its im2col GEMM per group; a gated expert as up, gate and down.
        """
        d = self.dims
        if self.kind is OpKind.LINEAR:
            return ((1, d["m"], d["n"], d["k"]),)
        if self.kind is OpKind.MATMUL:
            return ((d["batch"], d["m"], d["n"], d["k"]),)
        if self.kind is OpKind.CONV2D:
            groups = d["groups"]
            reduction = d["c_in"] // groups * d["kh"] * d["kw"]
            return ((groups, d["batch"] * d["h_out"] * d["w_out"], d["c_out"] // groups, reduction),)
        if self.kind is OpKind.MOE_FFN:
            up = 2 if d["gated"] else 1
            per_m: dict[int, int] = {}
            for count in self.expert_counts:
                per_m[count] = per_m.get(count, 0) + 1
            return tuple(
                gemm
                for m, times in sorted(per_m.items())
                for gemm in ((up * times, m, d["d_ff"], d["d_model"]), (times, m, d["d_model"], d["d_ff"]))
            )
        return ()

    @property
    def attention_pairs(self) -> int:
        """Query-key pairs per head of an ATTENTION op: all, or those a causal mask keeps."""
        d = self.dims
        q, kv = d["q_len"], d["kv_len"]
        if not d["causal"] or q <= 1:
            return d["batch"] * q * kv
        masked = min(q, kv)
        return d["batch"] * (q * kv - masked * (masked - 1) // 2)

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates with every weight counted, zero or not."""
        if self.kind is OpKind.ATTENTION:
            return self.attention_pairs * self.dims["heads"] * (self.dims["head_dim"] + self.dims["v_head_dim"])
        return sum(count * m * n * k for count, m, n, k in self.gemms)

    @property
    def useful_macs(self) -> int:
        """Multiply-accumulates whose weight is kept."""
        if self.kind is OpKind.ATTENTION:
            return self.dense_macs
        return sum(count * m * self.weight_sparsity.kept(n, k) for count, m, n, k in self.gemms)

    @property
    def flops(self) -> int:
        """Floating-point operations, dense: two a multiply-accumulate."""
        if self.kind in (OpKind.ELEMENTWISE, OpKind.OTHER):
            return self.dims["flops"]
        return 2 * self.dense_macs

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that the op reads, as stored, metadata included.

        Of a MOE_FFN, the weights of the experts that are hit.
        """
        if self.kind in (OpKind.LINEAR, OpKind.CONV2D):
            return sum(count * (self._stored(n, k) + self._bias_bytes(n)) for count, _, n, k in self.gemms)
        if self.kind is OpKind.MOE_FFN:
            return self.expert_bytes * len(self.expert_counts)
        return 0

    @property
    def expert_bytes(self) -> int:
        """Stored bytes of one expert of a MOE_FFN."""
        d = self.dims
        up = 2 if d["gated"] else 1
        stored = up * self._stored(d["d_ff"], d["d_model"]) + self._stored(d["d_model"], d["d_ff"])
        return stored + self._bias_bytes(up * d["d_ff"] + d["d_model"])

    @property
    def kv_bytes(self) -> int:
        """Bytes of cached keys and values that an ATTENTION op reads."""
        if self.kind is not OpKind.ATTENTION:
            return 0
        d = self.dims
        row = d["head_dim"] + (0 if self.latent_kv else d["v_head_dim"])
        return bytes_of(d["batch"] * d["kv_heads"] * d["kv_len"] * row, self.dtype)

    @property
    def input_bytes(self) -> int:
        """Bytes of activations that a good kernel reads once; keys and values included."""
        d = self.dims
        match self.kind:
            case OpKind.LINEAR:
                return self._activations(d["m"] * d["k"])
            case OpKind.MATMUL:
                return self._activations(d["batch"] * d["k"] * (d["m"] + d["n"]))
            case OpKind.CONV2D:
                return self._activations(d["batch"] * d["c_in"] * d["h_in"] * d["w_in"])
            case OpKind.ATTENTION:
                query = bytes_of(d["batch"] * d["heads"] * d["q_len"] * d["head_dim"], self.dtype)
                return query + self.kv_bytes
            case OpKind.MOE_FFN:
                return self._activations(d["tokens"] * d["d_model"])
            case OpKind.ELEMENTWISE | OpKind.OTHER:
                return d["read_bytes"]
            case _:
                return d["bytes"]

    @property
    def output_bytes(self) -> int:
        """Bytes that a good kernel writes once."""
        d = self.dims
        match self.kind:
            case OpKind.LINEAR:
                elements = d["m"] * d["n"]
            case OpKind.MATMUL:
                elements = d["batch"] * d["m"] * d["n"]
            case OpKind.CONV2D:
                elements = d["batch"] * d["c_out"] * d["h_out"] * d["w_out"]
            case OpKind.ATTENTION:
                elements = d["batch"] * d["heads"] * d["q_len"] * d["v_head_dim"]
            case OpKind.MOE_FFN:
                elements = d["tokens"] * d["d_model"]
            case OpKind.ELEMENTWISE | OpKind.OTHER:
                return d["write_bytes"]
            case _:
                return d["bytes"]
        return bytes_of(elements, self.dtype)

    @property
    def min_bytes(self) -> int:
        """Bytes that a good kernel must move: weights, inputs and outputs, each once."""
        return self.weight_bytes + self.input_bytes + self.output_bytes

    def _stored(self, rows: int, cols: int) -> int:
        return -(-self.weight_sparsity.stored_bits(rows, cols, self.w_dtype.bits) // 8)

    def _bias_bytes(self, outputs: int) -> int:
        return bytes_of(outputs, self.w_dtype) if self.bias else 0

    def _activations(self, elements: int) -> int:
        return -(-self.input_sparsity.stored_bits(1, elements, self.dtype.bits) // 8)
