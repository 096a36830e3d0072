"""Factories of operators: the names a user writes, with the arguments checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simsparse.core.op import Op, OpKind
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType
from simsparse.errors import SpecError
from simsparse.sparsity.statement import Sparsity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _positive(**dims: int) -> dict[str, int]:
    for key, value in dims.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SpecError(f"{value!r} is not a positive whole number", key=key)
    return dims


def linear(
    m: int,
    n: int,
    k: int,
    dtype: str | DType = "bf16",
    *,
    weight_sparsity: str | Sparsity = "dense",
    input_sparsity: str | Sparsity = "dense",
    weight_dtype: str | DType | None = None,
    name: str = "linear",
    **fields: Any,
) -> Op:
    """``y[m, n] = x[m, k] @ w[n, k].T``. Raises SpecError on a bad dim, dtype or sparsity."""
    return Op(
        OpKind.LINEAR, name, _positive(m=m, n=n, k=k), DType.parse(dtype),
        weight_dtype=DType.parse(weight_dtype) if weight_dtype else None,
        weight_sparsity=Sparsity.parse(weight_sparsity), input_sparsity=Sparsity.parse(input_sparsity), **fields,
    )  # fmt: skip


def matmul(
    batch: int, m: int, n: int, k: int, dtype: str | DType = "bf16", *, name: str = "matmul", **fields: Any
) -> Op:
    """``batch`` products of two activations, (m, k) by (k, n)."""
    return Op(OpKind.MATMUL, name, _positive(batch=batch, m=m, n=n, k=k), DType.parse(dtype), **fields)


def conv2d(
    batch: int,
    c_in: int,
    c_out: int,
    h_in: int,
    w_in: int,
    kh: int,
    kw: int,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    dtype: str | DType = "bf16",
    weight_sparsity: str | Sparsity = "dense",
    name: str = "conv2d",
    **fields: Any,
) -> Op:
    """A 2-D convolution, NCHW; ``stride`` and ``padding`` alike in both directions."""
    h_out, w_out = (h_in + 2 * padding - kh) // stride + 1, (w_in + 2 * padding - kw) // stride + 1
    dims = _positive(batch=batch, c_in=c_in, c_out=c_out, h_in=h_in, w_in=w_in, h_out=h_out, w_out=w_out,
                     kh=kh, kw=kw, groups=groups)  # fmt: skip
    if c_in % groups or c_out % groups:
        raise SpecError(f"{groups} does not divide c_in {c_in} and c_out {c_out}", key="groups")
    return Op(OpKind.CONV2D, name, dims, DType.parse(dtype), weight_sparsity=Sparsity.parse(weight_sparsity), **fields)


def attention(
    batch: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    q_len: int,
    kv_len: int,
    causal: bool = True,
    dtype: str | DType = "bf16",
    *,
    v_head_dim: int | None = None,
    name: str = "attention",
    **fields: Any,
) -> Op:
    """Scaled dot-product attention of ``q_len`` queries on ``kv_len`` cached keys and values.

    With ``causal``, query i sees the keys up to kv_len - q_len + i. Raises SpecError when
    ``kv_heads`` does not divide ``heads``.
    """
    dims = _positive(batch=batch, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                     v_head_dim=v_head_dim or head_dim, q_len=q_len, kv_len=kv_len)  # fmt: skip
    if heads % kv_heads:
        raise SpecError(f"{kv_heads} does not divide heads {heads}", key="kv_heads")
    return Op(OpKind.ATTENTION, name, {**dims, "causal": int(causal)}, DType.parse(dtype), **fields)


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
    its shape does not fit ``tokens`` and ``experts``.
    """
    route = routing if isinstance(routing, Routing) else Routing.from_ids(routing, experts, "given")
    routed = sum(route.counts)
    if len(route.counts) != experts or routed % tokens:
        raise SpecError(
            f"routing has {len(route.counts)} experts and {routed} assignments; "
            f"expected {experts} experts and a multiple of {tokens} tokens", key="routing"
        )  # fmt: skip
    dims = _positive(tokens=tokens, d_model=d_model, d_ff=d_ff, experts=experts, top_k=routed // tokens)
    return Op(
        OpKind.MOE_FFN, name, {**dims, "gated": int(gated)}, DType.parse(dtype), routing=route,
        weight_dtype=DType.parse(weight_dtype) if weight_dtype else None,
        weight_sparsity=Sparsity.parse(weight_sparsity), **fields,
    )  # fmt: skip


def elementwise(
    read_bytes: int, write_bytes: int, flops: int = 0, dtype: str | DType = "bf16", *, label: str = "elementwise",
    name: str = "elementwise", **fields: Any,
) -> Op:  # fmt: skip
    """An operator bound by the bytes it moves: norm, activation, addition, rotary embedding, gather."""
    dims = {"read_bytes": read_bytes, "write_bytes": write_bytes, "flops": flops}
    return Op(OpKind.ELEMENTWISE, name, dims, DType.parse(dtype), label=label, **fields)


def transfer(bytes: int, src: str, dst: str, *, name: str = "transfer", **fields: Any) -> Op:
    """A copy of ``bytes`` from device ``src`` to device ``dst``."""
    return Op(OpKind.TRANSFER, name, _positive(bytes=bytes), DType.INT8, src=src, dst=dst, **fields)


def collective(kind: str, bytes: int, ranks: int, *, name: str = "collective", **fields: Any) -> Op:
    """A collective over ``ranks`` devices, ``bytes`` the input of one rank.

    ``kind`` is all_reduce, all_to_all, all_gather, reduce_scatter or send_recv. Raises SpecError.
    """
    allowed = ("all_gather", "all_reduce", "all_to_all", "reduce_scatter", "send_recv")
    if kind not in allowed:
        raise SpecError(f"{kind!r} is not a collective; allowed: {', '.join(allowed)}", key="kind")
    return Op(OpKind.COLLECTIVE, name, _positive(bytes=bytes, ranks=ranks), DType.INT8, label=kind, **fields)
