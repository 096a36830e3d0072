# SPDX-License-Identifier: Apache-2.0
"""Kinds of operator: what an op's dims mean in products, bytes and FLOPs. One file per kind under core/kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from simsparse.core.tensor import DType, bytes_of, whole
from simsparse.errors import SpecError
from simsparse.registry import Registry
from simsparse.sparsity.drawn import Operand

if TYPE_CHECKING:
    from simsparse.core.op import Op


class OpKind:
    """Names of the kinds that other modules name. A kind is any name that KINDS holds; this is no closed list."""

    LINEAR = "linear"
    CONV2D = "conv2d"
    MATMUL = "matmul"
    ATTENTION = "attention"
    MOE_FFN = "moe_ffn"
    ELEMENTWISE = "elementwise"
    TRANSFER = "transfer"
    COLLECTIVE = "collective"
    OTHER = "other"
    LAUNCHED = "launched"


class Unit(StrEnum):
    """What runs an op: a unit for matrix products, one for vectors, or the links between devices."""

    MATRIX = "matrix"
    VECTOR = "vector"
    LINK = "link"


class Gemm(NamedTuple):
    """``times`` equal products of an op, ``y[m, n] = x[m, k] @ w[n, k].T``, as a machine without caches runs them.

    The bytes are those of one product that cross the memory; 0 where an operand or a result stays on chip.
    ``second_bytes`` is the n x k operand where that is an activation, None where it is a weight, whose bytes depend
    on its sparsity and format.
    """

    times: int
    m: int
    n: int
    k: int
    second_bytes: float | None
    input_bytes: float
    output_bytes: float


class Kind(ABC):
    """One kind of operator. Its objects hold no state; one is registered per kind with ``@KINDS.register(name)``.

    ``dims``: the integers that an op of the kind has, in order. ``zero_dims`` may be 0, ``flags`` are 0 or 1.
    ``optional_dims``: further ones, with the value that they have in an op which leaves them out; an op does not hold
    those that have this value.
    ``batch_dims``: those that grow with the batch; empty where that can't be said.
    ``unit``: what runs the op. ``prunable``: its weights can be sparse. ``routed``: it needs a Routing.
    ``label_matters``: ops with different labels differ in cost; ``labels``: those that an op may have, empty for any.
    ``masked``: the operands that are one matrix each, for which a cycle core takes a mask.
    ``priced_facts``: facts (``stats``) that the cost of an op depends on, as its dims.
    ``factory``: the function that users call as ``ss.ops.NAME``.
    """

    name: ClassVar[str]
    dims: ClassVar[tuple[str, ...]]
    optional_dims: ClassVar[Mapping[str, int]] = MappingProxyType({})
    zero_dims: ClassVar[frozenset[str]] = frozenset()
    flags: ClassVar[frozenset[str]] = frozenset()
    batch_dims: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[Unit]
    prunable: ClassVar[bool] = False
    routed: ClassVar[bool] = False
    label_matters: ClassVar[bool] = False
    labels: ClassVar[tuple[str, ...]] = ()
    masked: ClassVar[tuple[Operand, ...]] = ()
    priced_facts: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[Callable[[str], Kind], tuple[str]]:
        return _kind_called, (self.name,)

    @property
    @abstractmethod
    def factory(self) -> Callable[..., Op]:
        """The function that makes ops of the kind, with its arguments checked."""

    @abstractmethod
    def examples(self, dtype: str) -> list[Op]:
        """A few small and large ops, for the tests that every device and the trace file must pass."""

    def sizes(self, dims: Mapping[str, int]) -> tuple[int, ...]:
        """The numbers in ``dims`` in one order, equal for equal dims."""
        found = tuple(map(dims.__getitem__, self.dims))
        if len(dims) == len(found):
            return found
        return (*found, *(dims.get(key, usual) for key, usual in self.optional_dims.items()))

    def all_dims(self, op: Op) -> Mapping[str, int]:
        """The dims of ``op``, with the optional ones that it leaves out."""
        return {**self.optional_dims, **op.dims} if self.optional_dims else op.dims

    def check(self, op: Op) -> None:
        """Raises SpecError when dims are out of range or do not fit together; ``key`` names the dim, or ``label``."""
        if self.labels and op.label not in self.labels:
            raise SpecError(f"{op.label!r} is not a {self.name}; allowed: {', '.join(self.labels)}", key="label")
        for key, value in op.dims.items():
            if key in self.flags and value > 1:
                raise SpecError(f"{value} is not 0 or 1", key=key)
            if not value and key not in self.zero_dims and key not in self.flags:
                raise SpecError("is 0; expected a positive whole number", key=key)

    def check_routing(self, op: Op) -> None:
        """Raises SpecError when the routing does not fit the dims, or is there although the kind is not routed."""
        if op.routing is not None:
            raise SpecError(f"{self.name} has none; only an op of a routed kind, as moe_ffn, has one", key="routing")

    def gemms(self, op: Op) -> tuple[tuple[int, int, int, int], ...]:
        """The products of activations with weights, or of two activations, as (count, m, n, k)."""
        del op
        return ()

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """The same with the bytes that each moves; every product that a matrix unit has to run."""
        size = op.dtype.bits / 8
        return tuple(
            Gemm(count, m, n, k, None if self.prunable else n * k * size, m * k * size, m * n * size)
            for count, m, n, k in self.gemms(op)
        )

    def dense_macs(self, op: Op) -> int:
        """Multiply-accumulates with every weight counted, zero or not."""
        return sum(count * m * n * k for count, m, n, k in self.gemms(op))

    def useful_macs(self, op: Op) -> int:
        """Multiply-accumulates whose weight is kept."""
        return sum(count * m * op.weight_sparsity.kept(n, k) for count, m, n, k in self.gemms(op))

    def flops(self, op: Op) -> int:
        """Floating-point operations, dense: two per multiply-accumulate."""
        return 2 * self.dense_macs(op)

    def vector_flops(self, op: Op) -> int:
        """Operations of a vector unit beside the products: softmax, activations, all of an element-wise op."""
        del op
        return 0

    def weight_bytes(self, op: Op) -> int:
        """Bytes of the weights that the op reads, as stored, metadata included."""
        del op
        return 0

    def resident_bytes(self, op: Op) -> int:
        """Bytes of the weights that the op keeps in memory, read or not."""
        return self.weight_bytes(op)

    def expert_bytes(self, op: Op) -> int:
        """Stored bytes of one expert of a routed op; 0 of other ops."""
        del op
        return 0

    def pairs(self, op: Op) -> int:
        """Query-key pairs per head that an attention computes, in all sequences; 0 of other kinds."""
        del op
        return 0

    def kv_bytes(self, op: Op) -> int:
        """Bytes of state that the op reads and that lasts from step to step: cached keys and values."""
        del op
        return 0

    def resident_kv_bytes(self, op: Op) -> int:
        """Bytes of the same state that the op keeps in memory, read or not."""
        return self.kv_bytes(op)

    def after_tokens(self, op: Op, tokens: int) -> Op:
        """The op as it runs when its state has grown by ``tokens`` per sequence; itself where no state grows."""
        del tokens
        return op

    @abstractmethod
    def input_bytes(self, op: Op) -> int:
        """Bytes of activations that a good kernel reads once, ``kv_bytes`` included."""

    @abstractmethod
    def output_bytes(self, op: Op) -> int:
        """Bytes that a good kernel writes once."""


class VectorKind(Kind):
    """A kind without products: bytes that move and the FLOPs of a vector unit."""

    unit = Unit.VECTOR

    def vector_flops(self, op: Op) -> int:
        return self.flops(op)


class MovedKind(VectorKind):
    """A kind whose dims say the bytes that an op reads and writes, and its FLOPs."""

    def flops(self, op: Op) -> int:
        return op.dims["flops"]

    def input_bytes(self, op: Op) -> int:
        return op.dims["read_bytes"]

    def output_bytes(self, op: Op) -> int:
        return op.dims["write_bytes"]


def positive(**dims: Any) -> dict[str, int]:
    """``dims`` as plain integers. Raises SpecError when one is no positive whole number."""
    found = {}
    for key, value in dims.items():
        number = whole(value)
        if number is None or number < 1:
            raise SpecError(f"{value!r:.80} is not a positive whole number", key=key)
        found[key] = number
    return found


def flag(key: str, value: Any) -> int:
    """1 or 0 of a truth value, numpy's too. Raises SpecError on anything else."""
    if not isinstance(value, bool) and whole(value) not in (0, 1) and type(value).__name__ != "bool":
        raise SpecError(f"{value!r:.80} is not true or false", key=key)
    return int(value)


def stored_bytes(op: Op, rows: int, cols: int) -> int:
    """Bytes of a ``rows`` x ``cols`` weight of ``op`` in its format, metadata included.

    Raises SpecError when the format cannot hold the weight.
    """
    return -(-op.weight_sparsity.stored_bits(rows, cols, op.w_dtype.bits, op.weight_format) // 8)


def bias_bytes(op: Op, outputs: int) -> int:
    """Bytes of the bias of ``op``: one element per output, 0 without a bias."""
    return bytes_of(outputs, op.w_dtype) if op.bias else 0


def activation_bytes(op: Op, rows: int, cols: int) -> int:
    """Bytes of a ``rows`` x ``cols`` matrix of input activations of ``op``, as its ``input_sparsity`` stores them."""
    return -(-op.input_sparsity.stored_bits(rows, cols, op.dtype.bits) // 8)


def optional_dtype(dtype: str | DType | None) -> DType | None:
    """``dtype`` parsed, None where it is not given. Raises SpecError."""
    return None if dtype is None else DType.parse(dtype)


KINDS: Registry[Kind] = Registry("op kind", package="simsparse.core.kinds")
"""Every op kind by name; each module of core/kinds registers one."""


def _kind_called(name: str) -> Kind:
    return KINDS.get(name)
