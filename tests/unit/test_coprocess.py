# SPDX-License-Identifier: Apache-2.0
"""Experts shared between two devices at once: who gets which, what stays the same, and the overlap."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import load_system
from simsparse.core import Trace, TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.lowering.machine import machine_of
from simsparse.policies.placement.coprocess import Coprocess, moved_experts
from simsparse.testing import PolicyPartContract

ROUTING = [[token % 8, (token + 3) % 8] for token in range(44)]


class TestCoprocess(PolicyPartContract):
    part = Coprocess()


def layer() -> Trace:
    """A product, experts that read it, and a product that reads these."""
    builder = TraceBuilder("layer").add(ops.linear(44, 4096, 4096, name="before"))
    builder.add(ops.moe_ffn(44, 4096, 3584, 8, routing=ROUTING, name="experts"))
    return builder.add(ops.linear(44, 4096, 4096, name="after")).build()


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=7), here=st.integers(1, 60), there=st.integers(1, 60),
    there_start=st.integers(0, 50),
)  # fmt: skip
def test_experts_move_while_the_later_device_ends_sooner(
    counts: list[int], here: int, there: int, there_start: int
) -> None:
    """No prefix of the experts in order of tokens is better by one more or one less; equal experts: none at all is."""
    kept_s = dict.fromkeys(range(41), float(here))
    moved_s = {tokens: there_start + there * tokens / 10 for tokens in range(41)}
    moved = moved_experts(counts, kept_s, moved_s)
    hit = sorted((e for e, count in enumerate(counts) if count), key=lambda e: (counts[e], e))
    assert moved == set(hit[: len(moved)])

    def ends(chosen: set[int]) -> float:
        return max(here * (len(hit) - len(chosen)), sum(moved_s[counts[e]] for e in chosen))

    for more in (-1, 1):
        if 0 <= len(moved) + more <= len(hit):
            assert ends(moved) <= ends(set(hit[: len(moved) + more]))
    if len({counts[e] for e in hit}) == 1:
        assert ends(moved) == min(ends(set(some)) for size in range(len(hit) + 1) for some in combinations(hit, size))


def test_parts_do_the_work_of_the_layer() -> None:
    trace = layer()
    divided = Coprocess().divided(trace, machine_of(load_system("systems/h100-duplex")))
    here, there, both = divided.ops[1:4]
    assert [op.name for op in divided.ops] == ["before", "experts.on gpu0", "experts.on pim0", "experts", "after"]
    whole = trace.ops[1]
    assert here.useful_macs + there.useful_macs == whole.useful_macs
    assert here.weight_bytes + there.weight_bytes == whole.weight_bytes
    assert here.routing is not None and there.routing is not None and whole.routing is not None
    assert [a + b for a, b in zip(here.routing.counts, there.routing.counts, strict=True)] == [*whole.routing.counts]
    assert here.deps == there.deps == ("before",) and both.deps == (here.name, there.name)
    assert both.output_bytes == whole.output_bytes and divided.ops[4].deps == ("experts",)


@pytest.mark.parametrize("level", [0, 1])
def test_both_work_at_once_and_the_layer_ends_sooner(level: int) -> None:
    plain, shared = (ss.simulate(layer(), "systems/h100-duplex", policy, level=level)
                     for policy in ("resident", {"placement": "coprocess"}))  # fmt: skip
    spans = {span.name: span for span in shared.timeline.spans}
    here, there = spans["experts.on gpu0"], spans["experts.on pim0"]
    assert max(here.start_fs, there.start_fs) < min(here.end_fs, there.end_fs)
    assert {row.name: row.device for row in shared.ops}["experts.on pim0"] == "pim0"
    assert shared.latency_s < plain.latency_s


def test_one_processor_runs_whole_layers() -> None:
    trace, machine = layer(), machine_of(load_system("systems/h100-pcie5"))
    assert Coprocess().divided(trace, machine) is trace


def test_units_that_are_not_there() -> None:
    with pytest.raises(SpecError, match=r"units: 'pim1' is no processor beside gpu0; did you mean pim0"):
        ss.simulate(layer(), "systems/h100-duplex", {"placement": {"kind": "coprocess", "units": "pim1"}})
    with pytest.raises(SpecError, match="7 is not the name of a device"):
        Coprocess(units=7)  # type: ignore[arg-type]
