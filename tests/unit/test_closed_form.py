"""The short way of a level-0 sweep gives the numbers of the whole simulation, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from simsparse import simulate
from simsparse.config.hardware import load_system
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SimulationError
from simsparse.paths import data_root
from simsparse.sweep.closed_form import queue_summary
from simsparse.trace.file import load_trace

TRACES = ("llama2-7b-decode-b8", "llama2-7b-prefill", "mixtral-8x7b-decode-b1")
SYSTEMS = ("systems/h100-pcie5", "systems/bank-pim", "systems/sat-vcu1525", "cpu/h100-host")


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_summary_is_that_of_the_simulation(name: str, system: str) -> None:
    trace = load_trace(data_root() / "traces" / f"{name}.trace").with_weight_sparsity("2:4")
    machine = load_system(system)
    short, whole = queue_summary(trace, machine, 3, machine.assumed), simulate(trace, machine, seed=3, level=0)
    assert short == whole.summary()
    assert short is not None and list(short["seconds_by_bound"]) == list(whole.seconds_by_bound)


def test_overrides_share_a_layout_and_nothing_else() -> None:
    trace = load_trace(data_root() / "traces" / "llama2-7b-decode-b1.trace")
    for text in ("1 TB/s", "2 TB/s", "4 TB/s"):
        system = load_system("systems/h100-pcie5", {"gpu0.memory.bandwidth": text})
        assert queue_summary(trace, system, 0, system.assumed) == simulate(trace, system, level=0).summary()


def test_two_processors_need_the_whole_simulation() -> None:
    trace = load_trace(data_root() / "traces" / "llama2-7b-decode-b1.trace")
    assert queue_summary(trace, load_system("systems/h100-bank-pim"), 0, ()) is None


def test_a_full_memory_is_the_same_error(tmp_path: Path) -> None:
    trace = load_trace(TraceBuilder("t").add(ops.linear(8, 1 << 20, 1 << 20)).build().save(tmp_path / "t.trace"))
    system = load_system("systems/h100-pcie5")
    with pytest.raises(SimulationError) as whole:
        simulate(trace, system, level=0)
    with pytest.raises(SimulationError) as short:
        queue_summary(trace, system, 0, system.assumed)
    assert str(short.value) == str(whole.value)
