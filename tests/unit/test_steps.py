# SPDX-License-Identifier: Apache-2.0
"""Decode steps, and caches of experts over them.

The fake processor takes 1 us per linear and per expert; the link 1 us and 1 ns per byte. An expert of a 16-wide gated
MoE with 64 hidden units has 6,144 bytes: 7.144 us per copy.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import simsparse as ss
from simsparse.core import CacheUse, Trace, TraceBuilder, ops
from simsparse.errors import SimulationError, SpecError
from simsparse.policies import policy_of
from simsparse.sources import Steps
from simsparse.sweep import run_sweep
from simsparse.testing.fake_machine import moe_trace, offload_system, two_processors
from simsparse.trace.file import MAX_OPS

US = 1e-6
EXPERT_BYTES, EXPERT_US = 6144, 7.144
STEPS = 64
TRACE = moe_trace(layers=3, experts=8, hit=2, linears=2)


def cache(kind: str, experts: int, prefetch: str = "none") -> dict[str, object]:
    return {"residency": {"kind": kind, "experts": experts}, "prefetch": prefetch}


def routed(source: Steps, seed: int) -> Iterator[tuple[str, int]]:
    """Every expert that is read, with its layer, in order."""
    for trace in source.passes(seed):
        for op in trace.ops:
            if op.routing is not None:
                yield from ((op.name, expert) for expert in op.routing.hit)


def lru_hits(reads: Iterable[tuple[str, int]], room: int) -> int:
    return cache_hits(list(reads), room, lambda held, _: held[0])


def belady_hits(reads: Iterable[tuple[str, int]], room: int) -> int:
    def last_again(held: list[tuple[str, int]], later: list[tuple[str, int]]) -> tuple[str, int]:
        return max(held, key=lambda one: later.index(one) if one in later else len(later))

    return cache_hits(list(reads), room, last_again)


Reads = list[tuple[str, int]]


def cache_hits(
    reads: Reads, room: int, victim: Callable[[Reads, Reads], tuple[str, int]], together: int = 2, start: int = 0
) -> int:
    """Hits where an op reads ``together`` experts: those that are there first, and none of them makes room.

    The first ``start`` of ``reads`` are there already.
    """
    held: Reads = reads[:start]  # the one used last stands last
    hits = 0
    for at in range(start, len(reads), together):
        own, later = reads[at : at + together], reads[at + together :]
        there = [each for each in own if each in held]
        hits += len(there)
        held = [each for each in held if each not in own] + there
        for each in (each for each in own if each not in there):
            if len(held) == room:
                held.remove(victim([one for one in held if one not in own], later))
            held.append(each)
    return hits


@pytest.mark.parametrize("level", [0, 1])
def test_an_lru_cache_over_64_steps(level: int) -> None:
    """The answer as a whole: hits, misses, copies, time, energy, memory and timeline."""
    source, room, seed = Steps(TRACE, STEPS, "zipf:1.0"), 10, 3
    reads = list(routed(source, seed))
    result = ss.simulate(source, offload_system(), cache("lru", room), seed=seed, level=level)
    hits = lru_hits(reads, room)
    misses = len(reads) - hits
    assert 0 < hits < len(reads) == STEPS * 3 * 2
    assert result.cache == {"gpu0": CacheUse(hits, misses, 0, misses * EXPERT_BYTES)}
    assert result.counts.of("pcie.link", "byte") == misses * EXPERT_BYTES
    assert result.latency_s == pytest.approx((STEPS * 3 * (2 + 2) + misses * EXPERT_US) * US)
    assert [span.bytes for span in result.timeline.spans if span.kind == "copy"] == [EXPERT_BYTES] * misses
    copying_j = sum(row.energy_j for row in result.ops if row.kind == "copy")
    assert copying_j == pytest.approx(misses * EXPERT_BYTES * 15e-12)
    static = (10 + 5 + 1) * result.latency_s
    assert result.energy_j == pytest.approx(static + sum(row.energy_j for row in result.ops), rel=1e-12)
    assert sum(row.latency_s for row in result.ops) == pytest.approx(result.latency_s, rel=1e-12)
    assert result.memory["gpu0"]["buffers"] == room * EXPERT_BYTES
    assert result.memory["host"] == {"weights": 3 * 8 * EXPERT_BYTES}
    assert result.summary()["cache"]["gpu0"]["hits"] == hits


@pytest.mark.parametrize("room", [2, 5, 24])
def test_belady_is_the_bound_of_all(room: int) -> None:
    source = Steps(TRACE, STEPS, "zipf:1.0")
    found = {kind: ss.simulate(source, offload_system(), cache(kind, room)).cache["gpu0"]
             for kind in ("lru", "lfu", "random", "belady")}  # fmt: skip
    assert found["lru"].hits == lru_hits(routed(source, 0), room)
    assert found["belady"].hits == belady_hits(routed(source, 0), room)
    assert all(use.hits <= found["belady"].hits for use in found.values())
    assert len({use.hits + use.misses for use in found.values()}) == 1


def test_a_cache_with_room_for_all_copies_each_expert_once() -> None:
    source = Steps(TRACE, STEPS, "uniform")
    result = ss.simulate(source, offload_system(), cache("lfu", 24))
    assert result.cache["gpu0"].misses == len(set(routed(source, 0)))


def test_a_cache_with_prefetch_copies_ahead_what_it_lacks() -> None:
    source = Steps(TRACE, 16, "zipf:1.0")
    demand, ahead = (ss.simulate(source, offload_system(), cache("lru", 12, prefetch)) for prefetch in
                     ("none", "next_layer"))  # fmt: skip
    use = ahead.cache["gpu0"]
    assert use.misses == 0 and use.copied_ahead * EXPERT_BYTES == use.copied_bytes
    assert ahead.latency_s < demand.latency_s
    lanes = Counter(span.lane for span in ahead.timeline.spans if span.kind == "copy")
    assert set(lanes) == {"compute", "h2d"}


def test_an_op_that_needs_more_than_a_cache_holds_is_named() -> None:
    with pytest.raises(SimulationError, match=r"layers\.0\.moe: the cache of gpu0 has no room"):
        ss.simulate(TRACE, offload_system(), cache("lru", 1))


def test_random_eviction_follows_the_seed() -> None:
    source = Steps(TRACE, 16, [{op.name: [[step % 8, (3 * step + 1) % 8]] for op in TRACE.ops if op.routing}
                               for step in range(16)])  # fmt: skip
    first, again, other = (ss.simulate(source, offload_system(), cache("random", 5), seed=seed) for seed in (1, 1, 7))
    assert first == again
    assert first.cache != other.cache


def test_steps_take_one_after_another_and_count_weights_once() -> None:
    dense = TraceBuilder("dense", phase="decode").add(ops.linear(1, 8, 8, name="a")).build()
    once, often = ss.simulate(dense, offload_system()), ss.simulate(dense, offload_system(), steps=5)
    assert often.latency_s == pytest.approx(5 * once.latency_s)
    assert often.memory == once.memory
    assert [row.name for row in often.ops] == ["a", "step1.a", "step2.a", "step3.a", "step4.a"]
    assert often.meta["steps"] == 5


def longer(trace: Trace, tokens: int) -> Trace:
    """``trace`` as it runs when every attention reads ``tokens`` more keys."""
    return Trace(trace.name, tuple(
        op.with_(dims={**op.dims, "kv_len": op.dims["kv_len"] + tokens}) if "kv_len" in op.dims else op
        for op in trace.ops
    ), trace.meta)  # fmt: skip


@pytest.mark.parametrize(("system", "level"), [("systems/h100-pcie5", 0), ("systems/h100-pcie5", 1),
                                               ("systems/sat-vcu1525", 1), ("pim/bank-pim", 0)])  # fmt: skip
def test_steps_are_passes_whose_cache_grows_by_a_token(system: str, level: int) -> None:
    trace, steps = ss.load_trace("traces/llama2-7b-decode-b1.trace"), 5
    one = ss.simulate(trace, system, steps=steps, level=level)
    passes = [ss.simulate(longer(trace, i), system, level=level) for i in range(steps)]
    assert one.latency_s == pytest.approx(sum(each.latency_s for each in passes), rel=1e-12)
    assert one.energy_j == pytest.approx(sum(each.energy_j for each in passes), rel=1e-12)
    assert sum(row.bytes for row in one.ops) == sum(row.bytes for each in passes for row in each.ops)
    assert one.counts == sum((each.counts for each in passes[1:]), passes[0].counts)
    assert one.memory == passes[-1].memory != passes[0].memory
    kept = [each.memory[device]["KV cache"] for each in passes for device in each.memory]
    assert [more - less for less, more in pairwise(kept)] == [2 * 32 * 4096 * 2] * (steps - 1)


def test_a_cache_grows_up_to_its_window_and_only_where_the_trace_appends() -> None:
    sizes = {"batch": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "q_len": 1}
    builder = TraceBuilder("t", phase="decode")
    builder.add(ops.elementwise(8, 8, name="append", label="kv_append"))
    builder.add(ops.attention(**sizes, kv_len=9, name="all"), deps=["append"])
    builder.add(ops.attention(**sizes, kv_len=9, name="windowed", stats={"window": 11}), deps=["append"])
    builder.add(ops.attention(**sizes, kv_len=9, name="of the source"), deps=["all"])
    builder.add(ops.attention(**sizes, kv_len=9, name="step1.all"), deps=["append"])
    lengths = [[op.dims["kv_len"] for op in each.ops[1:]] for each in Steps(builder.build(), 4).passes(0)]
    assert lengths == [[9, 9, 9, 9], [11, 10, 9, 11], [13, 11, 9, 13], [15, 11, 9, 15]]
    alone = TraceBuilder("t", phase="decode").add(ops.attention(**sizes, kv_len=9)).build()
    assert [each.ops[0].dims["kv_len"] for each in Steps(alone, 3).passes(0)] == [9, 10, 11]


def test_a_step_waits_for_the_step_before_on_other_devices_too() -> None:
    trace = TraceBuilder("pair", phase="decode").add(ops.linear(1, 8, 8, name="a")).add(ops.elementwise(8, 8, name="b"))
    spans = {span.name: span for span in
             ss.simulate(trace.build(), two_processors(refuses="linear"), steps=2).timeline.spans}  # fmt: skip
    assert spans["step1.a"].start_fs >= spans["b"].end_fs


def test_the_first_step_is_drawn_as_the_trace_was() -> None:
    trace = ss.load_trace("traces/mixtral-8x7b-decode-b1.trace")
    steps = list(Steps(trace, 3).passes(trace.meta["seed"]))
    assert [op.routing for op in steps[0].ops] == [op.routing for op in trace.ops]
    assert [op.routing for op in steps[1].ops] != [op.routing for op in trace.ops]


def test_given_routing_is_taken() -> None:
    given = [{op.name: [[step, step + 1]] for op in TRACE.ops if op.routing} for step in range(4)]
    assert [expert for _, expert in routed(Steps(TRACE, 4, given), 0)][::6] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("steps", "routing", "message"),
    [(0, "", "0 steps"), (2, "", "which gives one step"), (2, [{}], "of 1 steps"), (1, [{}], "step 0 gives none to")],
)
def test_steps_are_checked(steps: int, routing: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Steps(TRACE, steps, routing)  # type: ignore[arg-type]


def test_all_steps_have_as_many_operators_as_a_trace_file_may_have() -> None:
    most = MAX_OPS // len(TRACE.ops)
    assert Steps(TRACE, most, "uniform").steps == most
    with pytest.raises(SpecError, match=f"all steps may have {MAX_OPS}, which are {most} steps"):
        Steps(TRACE, most + 1, "uniform")


def test_only_decode_traces_have_steps() -> None:
    prefill = Trace("p", TRACE.ops, {"phase": "prefill"})
    with pytest.raises(SpecError, match="p is a prefill trace"):
        ss.simulate(prefill, offload_system(), steps=2)
    with pytest.raises(SpecError, match="says its steps"):
        ss.simulate(Steps(TRACE, 2, "uniform"), offload_system(), steps=2)


def test_a_sweep_takes_compositions_and_their_options_as_axes(tmp_path: Path) -> None:
    Trace("t", TRACE.ops, {"phase": "decode"}).save(tmp_path / "t.trace")
    (tmp_path / "s.yaml").write_text(
        "name: s\nworkload: {trace: t.trace}\nsystem: systems/h100-pcie5\nsteps: 8\nlevel: 0\n"
        "policy: {residency: {kind: lru, experts: 1}}\naxes:\n  policy_options.residency.experts: [10, 24]\n"
        "  policy: [{residency: lru}, {residency: belady}]\n  routing: [uniform, 'zipf:1.0']\n",
        encoding="utf-8",
    )
    frame = run_sweep(tmp_path / "s.yaml", tmp_path / "out")
    assert list(frame["error"]) == [""] * 8
    assert set(frame["policy"]) == {"residency: lru", "residency: belady"}
    hits = [json.loads(text)["gpu0"]["hits"] for text in frame["cache"]]
    room = frame["policy_options.residency.experts"].tolist()
    assert all(few <= many for few, many in zip(hits[:4], hits[4:], strict=True)) and room == [10] * 4 + [24] * 4
    assert hits[0] != hits[1]


def test_caches_per_layer_hold_their_own_and_begin_warm() -> None:
    """Layer by layer, with the first experts there, the last of them used last."""
    room, source = 3, Steps(TRACE, STEPS, "zipf:1.0")
    policy = {"residency": {"kind": "lru", "experts": room, "per_layer": True, "warm": True}, "prefetch": "none"}
    found = ss.simulate(source, offload_system(), policy)
    reads = list(routed(source, 0))
    hits = 0
    for layer in sorted({name for name, _ in reads}):
        before = [(layer, expert) for expert in range(room)]
        own = [each for each in reads if each[0] == layer]
        hits += cache_hits(before + own, room, lambda held, _: held[0], start=room)
    assert found.cache["gpu0"].hits == hits
    assert found.memory["gpu0"]["buffers"] == 3 * room * EXPERT_BYTES


def test_a_cache_that_forgets_misses_every_expert_of_each_step() -> None:
    source = Steps(TRACE, 8, "reuse:0.9")
    policy = {"residency": {"kind": "lru", "experts": 2, "per_layer": True, "forgets": True}, "prefetch": "none"}
    assert ss.simulate(source, offload_system(), policy).cache["gpu0"].hits == 0


@pytest.mark.parametrize(("right", "misses"), [(1.0, 8 * 2), (0.0, 8 * 3 * 2)])
def test_a_guess_that_is_always_right_leaves_the_first_layer_to_miss(right: float, misses: int) -> None:
    """One that is never right copies as much in vain, and the copies that are needed wait behind them."""
    source = Steps(TRACE, 8, "uniform")
    residency = {"kind": "lru", "experts": 2, "per_layer": True, "forgets": True}
    found = ss.simulate(
        source, offload_system(), {"residency": residency, "prefetch": {"kind": "guessed", "right": right}}
    )
    use = found.cache["gpu0"]
    assert (use.misses, use.copied_ahead) == (misses, 8 * 2 * 2)
    assert {span.lane for span in found.timeline.spans if span.kind == "copy"} == {"h2d"}


def test_wrong_guesses_cost_time() -> None:
    source = Steps(TRACE, 8, "uniform")
    residency = {"kind": "lru", "experts": 2, "per_layer": True, "forgets": True}
    demand, half, right = (
        ss.simulate(source, offload_system(), {"residency": residency, "prefetch": prefetch}).latency_s
        for prefetch in ("none", {"kind": "guessed", "right": 0.0}, {"kind": "guessed", "right": 1.0})
    )
    assert right < demand < half


@pytest.mark.parametrize(
    ("residency", "key"),
    [({"kind": "lru", "warm": True}, "warm"), ({"kind": "lru", "per_layer": "yes"}, "per_layer"),
     ({"kind": "lru", "per_layer": True, "warm": True, "forgets": True}, "warm")],
)  # fmt: skip
def test_options_of_caches_are_checked(residency: dict[str, object], key: str) -> None:
    with pytest.raises(SpecError, match=key):
        ss.simulate(Steps(TRACE, 2, "uniform"), offload_system(), {"residency": residency, "prefetch": "none"})


@pytest.mark.parametrize("right", [-0.1, 1.5, "often", True])
def test_accuracy_of_guesses_is_a_share(right: object) -> None:
    policy = {"residency": {"kind": "lru", "experts": 8}, "prefetch": {"kind": "guessed", "right": right}}
    with pytest.raises(SpecError, match="right"):
        ss.simulate(Steps(TRACE, 2, "uniform"), offload_system(), policy)


SIZES = ((16, 700), (40, 8), (300,), (5, 5, 900))
"""Outputs of the linears of each layer, 64 inputs each: 128 bytes per output."""


def dense_layers() -> Trace:
    builder = TraceBuilder("dense", phase="decode")
    for layer, sizes in enumerate(SIZES):
        for i, n in enumerate(sizes):
            builder.add(ops.linear(1, n, 64, name=f"layers.{layer}.l{i}", module=f"layers.{layer}"))
    return builder.build()


def streamed_us(steps: int, *, across_steps: bool) -> float:
    """Time of ``steps`` passes of dense_layers(), layer by layer: one compute lane, one copy engine."""
    layers = [(len(sizes), sum(1 + 0.128 * n for n in sizes)) for sizes in SIZES] * steps
    now = engine = arrived = 0.0
    for i, (compute, copies) in enumerate(layers):
        begins = i % len(SIZES) == 0
        if i == 0 or (begins and not across_steps):
            now += copies
        start = max(now, arrived)
        if i + 1 < len(layers) and (across_steps or (i + 1) % len(SIZES)):
            arrived = engine = max(engine, now) + layers[i + 1][1]
        now = start + compute
    return now


@pytest.mark.parametrize("policy", ["prefetch_all", "pregated"])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_first_layer_of_the_next_step_is_copied_while_a_step_ends(policy: str, level: int, steps: int) -> None:
    found = {}
    for across in (False, True):
        chosen = policy_of(policy, {"what": "all", "across_steps": across})
        result = ss.simulate(dense_layers(), offload_system(), chosen, steps=steps, level=level)
        assert result.latency_s == pytest.approx(streamed_us(steps, across_steps=across) * US)
        copied = [span for span in result.timeline.spans if span.kind == "copy"]
        assert len(copied) == steps * sum(map(len, SIZES))
        found[across] = result
    assert (found[True].latency_s < found[False].latency_s) == (steps > 1)
    assert found[True].counts == found[False].counts
    if steps > 1:
        spans = {span.name: span for span in found[True].timeline.spans}
        assert spans["step1.layers.0.l0.weight"].lane == "h2d"
        assert spans["step1.layers.0.l0.weight"].start_fs == spans["layers.3.l2.weight"].end_fs
        assert spans["step1.layers.0.l0.weight"].start_fs < spans["layers.3.l2"].end_fs
        assert spans["step1.layers.0.l0"].start_fs >= spans["step1.layers.0.l1.weight"].end_fs
    assert found[True].memory == found[False].memory


def test_experts_of_the_next_step_are_unknown_before_its_token() -> None:
    """Where a gate chooses, `next_layer` has nothing to copy across steps, and `all` copies every expert of a layer."""
    source = Steps(TRACE, 4, "zipf:1.0")
    for prefetch, copies in (("next_layer", 4 * 3 * 2), ("all", (2 + 8 + 8) + 3 * (8 + 8 + 8))):
        policy = {"residency": "none", "prefetch": {"kind": prefetch, "across_steps": True}}
        result = ss.simulate(source, offload_system(), policy)
        use = result.cache["gpu0"]
        assert (use.copied_ahead, use.misses) == (copies, 0)
        within = ss.simulate(source, offload_system(), {"residency": "none", "prefetch": prefetch})
        assert (result.timeline == within.timeline) == (prefetch == "next_layer")


@pytest.mark.parametrize("room", [4, 5, 12])
@pytest.mark.parametrize("kind", ["lru", "lfu", "random"])
def test_a_cache_is_filled_alike_where_nothing_crosses_steps(kind: str, room: int) -> None:
    source = Steps(TRACE, 16, "zipf:1.0")
    across, within = (
        ss.simulate(source, offload_system(), {"residency": {"kind": kind, "experts": room}, "prefetch": prefetch})
        for prefetch in ({"kind": "next_layer", "across_steps": True}, "next_layer")
    )
    assert (across.timeline, across.cache) == (within.timeline, within.cache)


def test_across_steps_is_true_or_false() -> None:
    with pytest.raises(SpecError, match=r"prefetch.across_steps: 3 is neither true nor false"):
        policy_of({"residency": "none", "prefetch": {"kind": "all", "across_steps": 3}})
