# SPDX-License-Identifier: Apache-2.0
"""Speed of the engine, of simulate and of estimate_many, against the figures that the docs promise."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
import simpy

import simsparse as ss
from simsparse.config.hardware import load_hardware, load_system
from simsparse.core import Trace, TraceBuilder, ops
from simsparse.events import Observer, Simulator, Task

pytestmark = pytest.mark.bench


def best_of(runs: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of ``runs``, after one that warms caches."""
    work()
    times = []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


class Count(Observer):
    """Counts what the engine tells: starts and ends of work."""

    def __init__(self) -> None:
        self.events = 0

    def on_start(self, task: Task) -> None:
        self.events += task.end_fs == -1

    def on_span(self, task: Task) -> None:
        self.events += task.end_fs >= 0


def engine_events(tasks: int) -> int:
    """Two lanes that wait for each other at every task; returns the starts and ends seen."""
    sim, count = Simulator(), Count()
    sim.add_device("gpu0")
    sim.subscribe(count)
    last: tuple[Task, ...] = ()
    for i in range(tasks):
        last = (sim.launch("gpu0", "compute" if i & 1 else "copy", 100, "op", last),)
    sim.run()
    return count.events


def raw_events(events: int) -> None:
    """SimPy alone: one process that waits."""
    env = simpy.Environment()

    def process() -> Generator[Any, Any, None]:
        for _ in range(events):
            yield env.timeout(100)

    env.process(process())
    env.run()


def decode_step(name: str, layers: int, d: int, d_ff: int, kv_heads: int, experts: int) -> Trace:
    """One token of a decoder with 32 heads and a context of 2,048, on shapes of Llama-2-7B or Mixtral-8x7B."""
    builder, row = TraceBuilder(name, phase="decode"), 2 * d
    for layer in range(layers):
        module = f"model.layers.{layer}"

        def moved(label: str, reads: int, module: str = module) -> None:
            builder.add(ops.elementwise(reads, row, label=label, name=f"{module}.{label}", module=module))

        def matrix(n: int, k: int, label: str, module: str = module) -> None:
            builder.add(ops.linear(1, n, k, name=f"{module}.{label}", module=f"{module}.{label}"))

        moved("input_norm", row)
        for label in ("q_proj", "k_proj", "v_proj"):
            matrix(d if label == "q_proj" else d // 32 * kv_heads, d, label)
        moved("rope", row)
        moved("kv_append", row)
        builder.add(ops.attention(1, 32, kv_heads, d // 32, 1, 2048, name=f"{module}.attention", module=module))
        matrix(d, d, "o_proj")
        moved("add_attention", 2 * row)
        moved("post_norm", row)
        if experts:
            matrix(experts, d, "router")
            chosen = [(layer + 3 * j) % experts for j in range(2 if experts == 8 else 8)]
            builder.add(ops.moe_ffn(1, d, d_ff, experts, routing=[chosen], name=f"{module}.experts", module=module))
        else:
            for label in ("gate_proj", "up_proj"):
                matrix(d_ff, d, label)
            moved("silu_mul", 4 * d_ff)
            matrix(d, d_ff, "down_proj")
        moved("add_ffn", 2 * row)
    builder.add(ops.linear(1, 32000, d, name="lm_head"))
    return builder.build()


def test_engine_reaches_half_of_raw_simpy() -> None:
    """Starts and ends of work a second, launching included, against SimPy's bare timeouts a second."""
    count = 20_000
    assert engine_events(count) == 2 * count
    ratios = []
    for _ in range(5):
        raw = 2 * count / best_of(1, lambda: raw_events(2 * count))
        own = 2 * count / best_of(1, lambda: engine_events(count))
        ratios.append(own / raw)
    print(f"engine {own:,.0f} events/s, SimPy {raw:,.0f} events/s, ratios {ratios}")
    assert max(ratios) >= 0.5


@pytest.mark.parametrize("policy", ["on_demand", "pregated"])
def test_a_mixtral_decode_step_takes_50_ms(policy: str) -> None:
    trace = decode_step("mixtral", 32, 4096, 14336, 8, 8)
    system = load_system("systems/h100-pcie5")
    seconds = best_of(5, lambda: ss.simulate(trace, system, policy, level=1))
    print(f"Mixtral-8x7B decode, {policy}, {len(trace.ops)} ops: {seconds * 1e3:.1f} ms")
    assert seconds <= 0.050


@pytest.mark.parametrize(("name", "shape", "slots", "most"), [
    ("mixtral", (32, 4096, 14336, 8, 8), 4, 5.0), ("qwen3-30b-a3b", (48, 2048, 768, 4, 128), 64, 20.0),
])  # fmt: skip
def test_1000_decode_steps_with_a_cache_of_experts(
    name: str, shape: tuple[int, int, int, int, int], slots: int, most: float
) -> None:
    """Processor time: a single run is too long to pick a quiet moment for."""
    trace, policy = decode_step(name, *shape), {"residency": {"kind": "lru", "experts": slots, "per_layer": True}}
    ss.simulate(trace, "systems/h200-pcie5", policy, steps=2, routing="zipf:0.8")
    start = time.process_time()
    ss.simulate(trace, "systems/h200-pcie5", policy, steps=1000, routing="zipf:0.8", keep="summary")
    seconds = time.process_time() - start
    print(f"1,000 steps of {name}: {seconds:.1f} s")
    assert seconds <= most


def test_a_llama_decode_step_at_level_0_takes_3_ms_on_machines_never_seen() -> None:
    trace = decode_step("llama", 32, 4096, 11008, 32, 0)
    systems = iter([load_system("systems/h100-pcie5", {"gpu0.memory.bandwidth": f"{2 + i / 100} TB/s"})
                    for i in range(40)])  # fmt: skip
    seconds = best_of(30, lambda: ss.simulate(trace, next(systems), level=0))
    print(f"Llama-2-7B decode, level 0, {len(trace.ops)} ops: {seconds * 1e3:.2f} ms")
    assert seconds <= 0.003


def test_100_000_estimates_take_2_s() -> None:
    gpu, cpu = load_hardware("gpu/h100-sxm5-80gb"), load_hardware("cpu/h100-host")
    many = [ops.linear(1 + i % 777, 64 * (1 + i % 97), 64 * (1 + i % 89)) for i in range(50_000)]
    seconds = best_of(1, lambda: ss.estimate_many(many, [gpu, cpu]))
    print(f"100,000 operator-machine pairs: {seconds:.2f} s")
    assert seconds <= 2.0
