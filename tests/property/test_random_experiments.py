# SPDX-License-Identifier: Apache-2.0
"""Valid experiments, drawn at random, against what the tool promises; docs/explanation/guarantees.md lists it."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import System, load_system
from simsparse.config.paths import part_names
from simsparse.core import Op, Result, Role, Trace, TraceBuilder, ops
from simsparse.errors import SimsparseError
from simsparse.policies import POLICIES
from simsparse.policies.prefetch import PREFETCHES
from simsparse.policies.residency import RESIDENCIES

SYSTEMS = [name for name in part_names() if name.startswith(("systems/", "gpu/", "cpu/", "accel/", "pim/"))]
SPARSITIES = ("dense", "2:4", "1:4", "1:8", "unstructured:0.2", "block16:0.5")
HOSTED = ("systems/h100-pcie5", "systems/h200-pcie5", "systems/a100-pcie4", "systems/rtx4090-pcie4",
          "systems/h200-x2-nvlink", "systems/h100-bank-pim", "systems/h100-logic-pim")  # fmt: skip
"""Systems of two to four devices, one of them a host, which has what policies and stacks need."""
KINDS = ("linear", "linear", "linear", "matmul", "attention", "selected_attention", "elementwise", "softmax")
STACKS = ("fused+graph", "fused", "compiled", "eager", "eager+graph")
FORMATS = ("csr", "bsr:32", "nm_index", "bitmap")
RATES = ("byte/second", "hertz", "flop/second")
"""Units of the numbers of which more is never slower."""
SLOWER = 1.02
"""What more of a resource may cost at most: a placement is a choice among a few."""


@cache
def system(name: str) -> System:
    return load_system(name)


@cache
def dtype_of(name: str) -> str:
    for part in system(name).devices.values():
        if hasattr(part, "array"):
            return str(min(part.array.macs))
        if part.kind == "pim":
            return str(min(part.compute.macs))  # type: ignore[attr-defined]
    return "fp16"


@dataclass(frozen=True)
class Experiment:
    """A trace on a system under a policy and a stack."""

    trace: Trace
    name: str
    policy: str | Mapping[str, Any]
    level: int
    stack: str

    def run(self, **changes: str) -> Result | None:
        """Its Result, with values of the system replaced; None where it is refused by a typed error."""
        try:
            found: Result = ss.simulate(
                self.trace, system(self.name).with_overrides(changes), self.policy, level=self.level, stack=self.stack
            )
        except SimsparseError as error:
            assert "\n" not in str(error)
            return None
        return found


def an_op(source: random.Random, name: str, dtype: str, kind: str) -> Op:
    m, n, k = (int(2 ** source.uniform(low, high)) for low, high in ((0, 9), (3, 11), (3, 11)))
    if kind == "linear":
        return ops.linear(m, n, k, dtype, weight_sparsity=source.choice(SPARSITIES), name=name)
    if kind == "matmul":
        return ops.matmul(source.randint(1, 8), m, n, k, dtype, name=name)
    if kind == "attention":
        return ops.attention(1 + m // 64, 8, 4, 64, 1, k, True, dtype, name=name)
    if kind == "selected_attention":
        return ops.selected_attention(1 + m // 64, 8, 4, 64, 1, k, min(k, n), True, dtype, name=name)
    if kind == "moe":
        top_k = source.choice([1, 2])
        ids = [source.sample(range(8), top_k) for _ in range(m)]
        return ops.moe_ffn(m, n, k, 8, True, dtype, routing=ids, weight_sparsity=source.choice(SPARSITIES), name=name,
                           module=f"layers.{name.removeprefix('op')}.experts")  # fmt: skip
    if kind == "softmax":
        return ops.softmax(m, n, dtype, name=name)
    return ops.elementwise(2 * m * n, m * n, m * n, dtype, name=name)


def a_trace(source: random.Random, dtype: str, kinds: Sequence[str]) -> Trace:
    builder = TraceBuilder("drawn")
    added: list[str] = []
    for i in range(source.randint(1, 6)):
        deps = source.sample(added, min(len(added), source.randint(0, 2)))
        builder.add(an_op(source, f"op{i}", dtype, source.choice(kinds)), deps=deps)
        added.append(builder.last)
    return builder.build()


def drawn(seed: int) -> tuple[Experiment, random.Random]:
    source = random.Random(seed)
    hosted = source.random() < 0.6
    name = source.choice(HOSTED if hosted else SYSTEMS)
    trace = a_trace(source, dtype_of(name), KINDS + 4 * ("moe",) * hosted)
    if source.random() < 0.2:
        with contextlib.suppress(SimsparseError):
            trace = trace.with_weight_format(source.choice(FORMATS))
    policy, stack = (a_policy(source), source.choice(STACKS)) if hosted else ("resident", STACKS[0])
    return Experiment(trace, name, policy, source.choice([0, 1]), stack), source


def a_policy(source: random.Random) -> str | Mapping[str, Any]:
    """Weights that stay, a named policy of offloading, or a cache with a prefetch."""
    kind = source.random()
    if kind < 0.5:
        return "resident" if kind < 0.3 else source.choice(sorted(POLICIES))
    residency: dict[str, Any] = {"kind": source.choice(sorted(RESIDENCIES))}
    if residency["kind"] not in ("keep_all", "none"):
        residency |= {"experts": source.choice([2, 8])} | source.choice([{}, {"per_layer": True}, {"forgets": True}])
    return {"residency": residency, "prefetch": source.choice(sorted(PREFETCHES))}


SEEDS = st.integers(0, 2**63 - 1)


@given(SEEDS)
def test_an_answer_is_finite_and_repeats(seed: int) -> None:
    experiment, _ = drawn(seed)
    result = experiment.run()
    if result is not None:
        assert 0 < result.latency_s < math.inf and 0 <= result.energy_j < math.inf
        assert result == experiment.run()


@given(SEEDS)
def test_energy_and_memory_add_up(seed: int) -> None:
    experiment, _ = drawn(seed)
    result = experiment.run()
    if result is None:
        return
    parts = result.energy_by_component
    static = sum(joules for component, joules in parts.items() if component.endswith(".static"))
    assert math.isclose(result.energy_j, sum(parts.values()), rel_tol=1e-12)
    assert math.isclose(sum(row.energy_j for row in result.ops) + static, result.energy_j, rel_tol=1e-6, abs_tol=1e-15)
    for device, held in result.memory.items():
        capacity = getattr(getattr(system(experiment.name).devices[device], "memory", None), "capacity", None)
        stacks = getattr(getattr(system(experiment.name).devices[device], "memory", None), "stacks", None)
        if capacity is not None:
            assert sum(held.values()) <= capacity.si * (stacks.si if stacks else 1)


@given(SEEDS)
def test_rows_add_up_to_the_latency_of_one_processor(seed: int) -> None:
    experiment, _ = drawn(seed)
    used = system(experiment.name)
    if sum(used.role(device) is Role.PROCESSOR for device in used.devices) == 1:
        result = experiment.run()
        if result is not None:
            assert math.isclose(sum(row.latency_s for row in result.ops), result.latency_s, rel_tol=1e-6)


@given(SEEDS)
def test_closed_forms_are_a_bound_of_events(seed: int) -> None:
    experiment, _ = drawn(seed)
    closed, events = (replace(experiment, level=level).run() for level in (0, 1))
    if closed is not None and events is not None:
        assert closed.latency_s <= events.latency_s * (1 + 1e-9)


@given(SEEDS)
def test_more_of_a_resource_is_never_slower(seed: int) -> None:
    experiment, source = drawn(seed)
    numbers = [
        (f"{owner}.{path}", quantity)
        for owner, part in system(experiment.name).parts().items() for path, quantity in part.quantities()
        if quantity.unit in RATES
    ]  # fmt: skip
    if not numbers:
        return
    path, quantity = source.choice(numbers)
    more = f"{quantity.si * source.choice([1.1, 1.5, 2, 4, 10])!r} {quantity.unit}"
    before, after = experiment.run(), experiment.run(**{path: more})
    if before is not None and after is not None:
        assert after.latency_s <= SLOWER * before.latency_s, (experiment.name, path, more)
