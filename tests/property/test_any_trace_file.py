# SPDX-License-Identifier: Apache-2.0
"""Trace files on arbitrary traces and on arbitrary damage."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import KINDS, DType, Op, OpKind, Routing, Sparsity, Trace, TraceBuilder, ops
from simsparse.errors import SpecError, TraceError
from simsparse.trace import load_trace, save_trace
from simsparse.trace.file import trace_text
from tests.conftest import SEED, draws

NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6,
)  # fmt: skip
DENSITIES = st.floats(1e-6, 1.0)
SPARSITIES = st.one_of(
    st.just("dense"), st.integers(1, 64).flatmap(lambda m: st.integers(1, m).map(lambda n: f"{n}:{m}")),
    DENSITIES.map(lambda d: f"unstructured:{d!r}"),
    st.tuples(st.sampled_from(["block", "bank"]), st.integers(1, 99), DENSITIES).map(
        lambda t: f"{t[0]}{t[1]}:{t[2]!r}"
    ),
).map(Sparsity.parse)  # fmt: skip
SIZES = st.integers(1, 256)


@st.composite
def op_bodies(draw: st.DrawFn) -> Op:
    kind = KINDS.get(draw(st.sampled_from(list(KINDS))))
    fields: dict[str, Any] = {
        "dtype": draw(st.sampled_from(list(DType))), "weight_dtype": draw(st.none() | st.sampled_from(list(DType))),
        "weight_sparsity": draw(SPARSITIES), "input_sparsity": draw(SPARSITIES), "label": draw(st.just("") | NAMES),
        "module": draw(st.just("") | NAMES), "weight": draw(st.none() | NAMES), "src": draw(st.none() | NAMES),
        "dst": draw(st.none() | NAMES), "stats": draw(st.dictionaries(NAMES, JSON, max_size=2)),
    }  # fmt: skip
    dims = {key: draw(st.integers(0, 1) if key in kind.flags else SIZES) for key in kind.dims}
    if kind.name == OpKind.ATTENTION:
        dims |= {"heads": dims["kv_heads"] * draw(st.integers(1, 8))}
    if kind.name == OpKind.CONV2D:
        dims |= {key: dims["groups"] * draw(st.integers(1, 8)) for key in ("c_in", "c_out")}
    if kind.name == OpKind.MOE_FFN:
        return draw(moe_ops(dims, fields))
    if kind.labels:
        fields["label"] = draw(st.sampled_from(kind.labels))
    op = Op(kind.name, draw(NAMES), dims, **fields)
    try:
        return op.checked()
    except SpecError:
        return op.with_(dims=draw(st.sampled_from(kind.examples("bf16"))).dims)


@st.composite
def moe_ops(draw: st.DrawFn, dims: dict[str, int], fields: dict[str, Any]) -> Op:
    tokens, experts = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    top_k = draw(st.integers(1, experts))
    ids = [draw(st.permutations(range(experts)))[:top_k] for _ in range(tokens)]
    routing = Routing.from_ids(ids, experts, draw(NAMES))
    if draw(st.booleans()):
        routing = Routing(routing.counts, (), routing.origin)
    sizes = {**dims, "tokens": tokens, "experts": experts, "top_k": top_k, "gated": draw(st.integers(0, 1))}
    return Op(OpKind.MOE_FFN, draw(NAMES), sizes, routing=routing, **fields)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    builder, added = TraceBuilder(draw(NAMES), **draw(st.dictionaries(st.text(max_size=5), JSON, max_size=3))), []
    for op in draw(st.lists(op_bodies(), max_size=6)):
        deps = draw(st.lists(st.sampled_from(added), max_size=3)) if added else []
        builder.add(op, deps)
        added.append(builder.last)
    return builder.build()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


@settings(max_examples=draws(60))
@given(trace=traces(), zipped=st.booleans())
def test_any_trace_is_read_back_exactly(folder: Path, trace: Trace, zipped: bool) -> None:
    path = save_trace(trace, folder / ("a.trace.gz" if zipped else "a.trace"))
    again = load_trace(path)
    assert again == trace
    assert [op.signature for op in again.ops] == [op.signature for op in trace.ops]
    assert save_trace(again, folder / path.name).read_bytes() == path.read_bytes()


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """``whole`` with up to four bytes flipped, inserted, cut, or numbers and words swapped for hostile ones."""
    text = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(text):
            text[at] = rng.randrange(256)
        elif kind == 1:
            del text[at : at + rng.randrange(40)]
        elif kind == 2:
            text[at:at] = text[: rng.randrange(60)]
        else:
            hostile = rng.choice([b"1e999", b"-1", b"null", b'"', b"[[[[", b"9" * 400, b"\x00", b"true", b"0", b"\n"])
            text[at : at + rng.randrange(3)] = hostile
        if not text:
            return b""
    return bytes(text)


def read_damaged(path: Path, whole: bytes, count: int, seed: int) -> int:
    """Reads ``count`` damaged copies; returns how many were refused."""
    rng, refused = random.Random(seed), 0
    for i in range(count):
        content = damaged(whole, rng)
        path.write_bytes(gzip.compress(content, 1) if i % 4 == 0 else content)
        if i % 8 == 1:
            path.write_bytes(damaged(gzip.compress(whole, 1), rng))
        try:
            trace = load_trace(path)
        except TraceError as error:
            assert path.name in str(error)
            assert "\n" not in str(error)
            refused += 1
        else:
            assert trace.flops >= 0
            assert sum(op.min_bytes for op in trace.ops) >= 0
    return refused


def sample() -> bytes:
    layer = ops.linear(4, 16, 8, weight_sparsity="2:4", name="layers.0.q", module="layers.0", stats={"density": 0.5})
    attend = ops.attention(1, 4, 2, 8, 4, 4)
    experts = ops.moe_ffn(2, 8, 16, 4, routing=[[0, 1], [3, 1]], name="experts")
    conv = ops.conv2d(1, 4, 8, 8, 8, 3, 3, groups=2)
    trace = TraceBuilder("small", seed=3).add(layer).add(attend).add(experts).add(conv).build()
    return trace_text(trace).encode()


@pytest.mark.fuzz
def test_damage_ends_in_a_trace_or_a_trace_error(folder: Path) -> None:
    count = draws(800)
    assert read_damaged(folder / "damaged.trace", sample(), count, SEED) > 0.7 * count
