# SPDX-License-Identifier: Apache-2.0
"""Mixture-of-experts feed-forward layers: the experts, after routing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

from simsparse.core.kind import (
    KINDS,
    Kind,
    Unit,
    activation_bytes,
    bias_bytes,
    flag,
    optional_dtype,
    positive,
    stored_bytes,
)
from simsparse.core.op import Op
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType, bytes_of
from simsparse.errors import SpecError
from simsparse.sparsity.statement import Sparsity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXAMPLE = [[0, 1], [0, 2], [0, 3], [0, 1]]


def moe_ffn(
    tokens: int,
    d_model: int,
    d_ff: int,
    experts: int,
    gated: bool = True,
    dtype: str | DType = "bf16",
    *,
    routing: Routing | NDArray[np.integer[Any]] | list[list[int]],
    weight_sparsity: str | Sparsity = "dense",
    weight_dtype: str | DType | None = None,
    name: str = "moe_ffn",
    **fields: Any,
) -> Op:
    """A mixture-of-experts feed-forward layer.

    ``routing`` is an int array (tokens, top_k) of expert ids, or a Routing. Raises SpecError when
    its shape does not fit ``tokens`` and ``experts``, or a token has an expert twice.
    """
    dims = positive(tokens=tokens, d_model=d_model, d_ff=d_ff, experts=experts)
    route = routing if isinstance(routing, Routing) else Routing.from_ids(routing, dims["experts"], "given")
    routed = sum(route.counts)
    if len(route.counts) != dims["experts"] or not routed or routed % dims["tokens"]:
        raise SpecError(
            f"routing has {len(route.counts)} experts and {routed} assignments; "
            f"expected {experts} experts and a multiple of {tokens} tokens", key="routing"
        )  # fmt: skip
    dims["top_k"] = routed // dims["tokens"]
    return Op(
        MOE_FFN.name, name, {**dims, "gated": flag("gated", gated)}, DType.parse(dtype), routing=route,
        weight_dtype=optional_dtype(weight_dtype), weight_sparsity=Sparsity.parse(weight_sparsity), **fields,
    )  # fmt: skip


class MoeFfnKind(Kind):
    """``tokens`` through ``top_k`` of ``experts`` FFNs each: up (and gate where ``gated``), activation, down."""

    name = "moe_ffn"
    dims = ("tokens", "d_model", "d_ff", "experts", "top_k", "gated")
    batch_dims = ("tokens",)
    flags = frozenset({"gated"})
    unit = Unit.MATRIX
    prunable = True
    routed = True
    label_matters = True

    @property
    def factory(self) -> Callable[..., Op]:
        return moe_ffn

    def examples(self, dtype: str) -> list[Op]:
        return [
            moe_ffn(4, 512, 1024, 4, dtype=dtype, routing=_EXAMPLE),
            moe_ffn(4, 512, 1024, 4, gated=False, dtype=dtype, routing=_EXAMPLE, weight_sparsity="2:4", name="plain"),
        ]

    def check_routing(self, op: Op) -> None:
        d, routing = op.dims, op.routing
        if routing is None:
            raise SpecError("a moe_ffn op needs routing", key="routing")
        if len(routing.counts) != d["experts"] or sum(routing.counts) != d["tokens"] * d["top_k"]:
            raise SpecError(
                f"{len(routing.counts)} experts and {sum(routing.counts)} assignments; "
                f"the dims say {d['experts']} and {d['tokens']} x {d['top_k']}", key="routing.counts"
            )  # fmt: skip
        if not routing.ids:
            return
        if len(routing.ids) != d["tokens"] or set(map(len, routing.ids)) != {d["top_k"]}:
            raise SpecError(f"is not {d['tokens']} rows of {d['top_k']} ids", key="routing.ids")
        if any(len(set(row)) < d["top_k"] for row in routing.ids):
            raise SpecError("a token has an expert twice", key="routing.ids")
        given = Counter(chain.from_iterable(routing.ids))
        if given != Counter({expert: count for expert, count in enumerate(routing.counts) if count}):
            raise SpecError("ids and counts differ", key="routing.counts")

    def gemms(self, op: Op) -> tuple[tuple[int, int, int, int], ...]:
        d = op.dims
        per_m: dict[int, int] = {}
        for count in op.expert_counts:
            per_m[count] = per_m.get(count, 0) + 1
        return tuple(
            gemm
            for m, times in sorted(per_m.items())
            for gemm in ((_ups(op) * times, m, d["d_ff"], d["d_model"]), (times, m, d["d_model"], d["d_ff"]))
        )

    def vector_flops(self, op: Op) -> int:
        """The activation of each hidden element, and its product with the gate."""
        return sum(op.expert_counts) * op.dims["d_ff"] * _ups(op)

    def expert_bytes(self, op: Op) -> int:
        d, ups = op.dims, _ups(op)
        stored = ups * stored_bytes(op, d["d_ff"], d["d_model"]) + stored_bytes(op, d["d_model"], d["d_ff"])
        return stored + bias_bytes(op, ups * d["d_ff"] + d["d_model"])

    def weight_bytes(self, op: Op) -> int:
        """Weights of the experts that are hit."""
        return self.expert_bytes(op) * len(op.expert_counts)

    def resident_bytes(self, op: Op) -> int:
        return self.expert_bytes(op) * op.dims["experts"]

    def input_bytes(self, op: Op) -> int:
        return activation_bytes(op, op.dims["tokens"], op.dims["d_model"])

    def output_bytes(self, op: Op) -> int:
        return bytes_of(op.dims["tokens"] * op.dims["d_model"], op.dtype)


def _ups(op: Op) -> int:
    return 2 if op.dims["gated"] else 1


MOE_FFN = KINDS.register("moe_ffn")(MoeFfnKind())
