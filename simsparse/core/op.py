# SPDX-License-Identifier: Apache-2.0
"""Operators: what a workload asks of a machine, in shapes and bytes, free of any machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simsparse.core.kernel import KernelCall
from simsparse.core.kind import KINDS, Gemm, Kind, Unit
from simsparse.core.memo import by_identity
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType, whole
from simsparse.errors import SpecError
from simsparse.sparsity import DENSE, USUAL, Sparsity
from simsparse.sparsity.formats.storage import storage_text

Signature = tuple[Any, ...]


class _Hashed(tuple[Any, ...]):
    """A signature whose hash is computed once."""

    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash = super().__hash__()
            return self._hash


@dataclass(frozen=True, slots=True)
class Op:
    """One operator of a trace.

    ``kind`` is a name of KINDS, and ``definition`` the Kind of that name, which gives ``dims`` their meaning.
    ``label`` refines a kind (``rmsnorm``, ``all_to_all``). ``weight`` names the parameter that the op reads, so that
    residency and sharing can be followed; ``module`` is the torch module path. ``deps`` are names of earlier ops.
    ``stats`` are measured facts about the real weights or activations (density, N:M conformity). ``bias``: a vector
    of ``w_dtype`` is read with the weights, one element per output. ``weight_dtype`` and ``output_dtype`` are given
    where they differ from ``dtype``, that of the inputs; ``output_dtype`` counts in products with weights or of two
    activations. ``weight_format``: how the weights are stored, as
    text such as ``csr`` or ``bsr:32``; ``usual`` leaves that to each device, and counts the sparsity's usual format
    where weights are copied or held. ``latent_kv``: the values of an attention are the
    first ``v_head_dim`` elements of its keys, so that one cache is read for both (multi-head latent attention,
    absorbed). ``kernels``: what the framework launched for an op that a good kernel would fuse; empty where that is
    one kernel, the op itself. ``call``: which call of the framework launches the op, from 1; 0 where no host does.
    ``src`` and ``dst``: the devices of a transfer. ``group``: names of groups and devices that a collective joins, in
    the order of ranks; empty for all processors. Ops with equal ``signature`` cost the same on the same part.

    Raises SpecError when ``kind`` or ``weight_format`` is unknown, or a dim is missing, unknown or no whole number from
    0 to 2**62.
    """

    kind: str
    name: str
    dims: Mapping[str, int]
    dtype: DType = DType.BF16
    weight_dtype: DType | None = None
    weight_sparsity: Sparsity = DENSE
    input_sparsity: Sparsity = DENSE
    weight_format: str = USUAL
    label: str = ""
    module: str = ""
    weight: str | None = None
    deps: tuple[str, ...] = ()
    routing: Routing | None = None
    src: str | None = None
    dst: str | None = None
    group: tuple[str, ...] = ()
    bias: bool = False
    latent_kv: bool = False
    output_dtype: DType | None = None
    stats: Mapping[str, Any] = field(default_factory=dict)
    kernels: tuple[KernelCall, ...] = ()
    call: int = 0

    definition: Kind = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definition", KINDS.get(self.kind))
        if self.weight_format != USUAL:
            object.__setattr__(self, "weight_format", storage_text(self.weight_format))
        self._check_texts()
        self._parse()
        self._check_dims()

    def _check_dims(self) -> None:
        """Keep dims as plain integers, without those of their usual value. Raises SpecError."""
        expected, optional = self.definition.dims, self.definition.optional_dims
        if not set(expected) <= set(self.dims) <= {*expected, *optional}:
            more = f" and may have {', '.join(optional)}" if optional else ""
            raise SpecError(
                f"{self.kind} takes {', '.join(expected)}{more}; got {', '.join(self.dims)}", key=f"{self.name}.dims"
            )
        if all(type(value) is int and 0 <= value < 2**62 for value in self.dims.values()) and not (
            self.dims.items() & optional.items()
        ):
            return
        plain = {key: whole(value) for key, value in self.dims.items()}
        for key, number in plain.items():
            if number is None or not 0 <= number < 2**62:
                raise SpecError(
                    f"{self.dims[key]!r:.80} is not a whole number from 0 to 2**62", key=f"{self.name}.{key}"
                )
        kept = {key: value for key, value in plain.items() if optional.get(key) != value}
        if len(kept) < len(plain) or any(type(value) is not int for value in self.dims.values()):
            object.__setattr__(self, "dims", kept)

    def _parse(self) -> None:
        """Read types and sparsities that are given as text. Raises SpecError."""
        for key in ("dtype", "weight_dtype", "output_dtype"):
            value = getattr(self, key)
            if type(value) is not DType and (value is not None or key == "dtype"):
                object.__setattr__(self, key, DType.parse(value))
        for key in ("weight_sparsity", "input_sparsity"):
            if not isinstance(getattr(self, key), Sparsity):
                object.__setattr__(self, key, Sparsity.parse(getattr(self, key)))

    def _check_texts(self) -> None:
        """Raises SpecError when a name is no text, or a flag no truth value."""
        for key in ("name", "label", "module", "weight_format", "weight", "src", "dst"):
            value = getattr(self, key)
            if not isinstance(value, str) and not (value is None and key in ("weight", "src", "dst")):
                raise SpecError(f"{value!r:.80} is not a text", key=key)
        for key in ("bias", "latent_kv"):
            if not isinstance(getattr(self, key), bool):
                raise SpecError(f"{getattr(self, key)!r:.80} is not true or false", key=key)
        if not isinstance(self.group, tuple) or not all(isinstance(member, str) for member in self.group):
            raise SpecError(f"{self.group!r:.80} is not a tuple of names", key="group")

    @property
    def unit(self) -> Unit:
        """What runs the op: a matrix unit, a vector unit or links."""
        return self.definition.unit

    @property
    def w_dtype(self) -> DType:
        """Element type of the weights: ``weight_dtype``, else ``dtype``."""
        return self.weight_dtype or self.dtype

    @property
    def out_dtype(self) -> DType:
        """Element type of the results: ``output_dtype``, else ``dtype``."""
        return self.output_dtype or self.dtype

    @property
    def signature(self) -> Signature:
        """What the cost of the op depends on: kind, dims, types, sparsity, routed counts, facts that are priced."""
        kind, dtype = self.definition, self.dtype
        return (
            self.kind, self.label if kind.label_matters else "", kind.sizes(self.dims), dtype,
            self.weight_dtype or dtype, self.output_dtype or dtype, self.weight_sparsity, self.weight_format,
            self.input_sparsity, tuple(sorted(self.routing.counts)) if self.routing else None, self.src, self.dst,
            self.group, self.bias, self.latent_kv, tuple(map(self.stats.get, kind.priced_facts)),
        )  # fmt: skip

    def with_(self, **changes: Any) -> Op:
        """A copy with some fields changed."""
        if not changes.keys() <= _CHECKED_ALONE:
            return replace(self, **changes)
        copy = object.__new__(Op)
        for key in _FIELDS:
            object.__setattr__(copy, key, changes[key] if key in changes else getattr(self, key))
        if "dims" in changes:
            copy._check_dims()
        if not isinstance(copy.name, str):
            raise SpecError(f"{copy.name!r:.80} is not a text", key="name")
        return copy

    def checked(self) -> Op:
        """The op itself. Raises SpecError when its dims are out of range or do not fit together."""
        self.definition.check(self)
        return self

    @property
    def expert_counts(self) -> tuple[int, ...]:
        """Tokens of each expert that is hit, of a routed op."""
        if self.routing is None:
            raise SpecError(f"a {self.kind} op needs routing", key=self.name)
        return tuple(count for count in self.routing.counts if count)

    @property
    def gemms(self) -> tuple[tuple[int, int, int, int], ...]:
        """The GEMMs in the op as (count, m, n, k), weights as the n x k operand.

        A convolution counts as its im2col GEMM per group; a gated expert as up, gate and down.
        """
        return self.definition.gemms(self)

    @property
    def products(self) -> tuple[Gemm, ...]:
        """Every product that a matrix unit runs, with the bytes that each moves."""
        return self.definition.products(self)

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates with every weight counted, zero or not."""
        return self.definition.dense_macs(self)

    @property
    def useful_macs(self) -> int:
        """Multiply-accumulates whose weight is kept."""
        return self.definition.useful_macs(self)

    @property
    def flops(self) -> int:
        """Floating-point operations, dense: two per multiply-accumulate."""
        return self.definition.flops(self)

    @property
    def vector_flops(self) -> int:
        """Operations of a vector unit beside the products: softmax, activations, all of an element-wise op."""
        return self.definition.vector_flops(self)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that the op reads, as stored, metadata included.

        Of a routed op, the weights of the experts that are hit.
        """
        return self.definition.weight_bytes(self)

    @property
    def resident_bytes(self) -> int:
        """Bytes of the weights that the op keeps in memory, those of experts that are not hit included."""
        return self.definition.resident_bytes(self)

    @property
    def expert_bytes(self) -> int:
        """Stored bytes of one expert of a routed op; 0 of other ops."""
        return self.definition.expert_bytes(self)

    @property
    def attention_pairs(self) -> int:
        """Query-key pairs per head that an attention computes, in all sequences; 0 of other ops."""
        return self.definition.pairs(self)

    @property
    def kv_bytes(self) -> int:
        """Bytes of cached keys and values, or of other state that lasts from step to step, that the op reads."""
        return self.definition.kv_bytes(self)

    @property
    def resident_kv_bytes(self) -> int:
        """Bytes of cached keys and values, or of other lasting state, that the op keeps in memory, read or not."""
        return self.definition.resident_kv_bytes(self)

    @property
    def input_bytes(self) -> int:
        """Bytes of activations that a good kernel reads once; ``kv_bytes`` included."""
        return self.definition.input_bytes(self)

    @property
    def output_bytes(self) -> int:
        """Bytes that a good kernel writes once."""
        return self.definition.output_bytes(self)

    @property
    def min_bytes(self) -> int:
        """Bytes that a good kernel must move: weights, inputs and outputs, each once."""
        return self.weight_bytes + self.input_bytes + self.output_bytes


_FIELDS = tuple(Op.__slots__)
_CHECKED_ALONE = frozenset(("name", "dims", "deps", "routing", "stats", "kernels", "call"))
"""Fields whose change leaves nothing to check in the others: a copy takes those as they are."""


def signatures(ops: Sequence[Op]) -> Sequence[Signature]:
    """The signature of each op; those of the last tuples of ops are remembered."""
    return _signatures(ops) if isinstance(ops, tuple) else [op.signature for op in ops]


@by_identity(maxsize=256)
def _signatures(ops: tuple[Op, ...]) -> tuple[Signature, ...]:
    return tuple(_Hashed(op.signature) for op in ops)
