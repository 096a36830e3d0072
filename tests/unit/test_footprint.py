# SPDX-License-Identifier: Apache-2.0
"""What a run keeps in memory, against sums by hand."""

from __future__ import annotations

import pytest

import simsparse as ss
from simsparse.core import Op, Trace, TraceBuilder, ops
from simsparse.core.ops import elementwise
from simsparse.errors import SimulationError
from simsparse.testing.fake_machine import moe_trace, offload_system, two_processors


def wide(name: str, size: int, deps: list[str], **fields: object) -> tuple[Op, list[str]]:
    """An op that reads what its dependencies wrote and writes ``size`` bytes."""
    return elementwise(8, size, name=name, **fields), deps  # type: ignore[arg-type]


def built(*items: tuple[Op, list[str]], phase: str = "prefill") -> Trace:
    builder = TraceBuilder("t", phase=phase)
    for op, deps in items:
        builder.add(op, deps=deps)
    return builder.build()


def memory(trace: Trace, device: str = "gpu0") -> dict[str, int]:
    return dict(ss.simulate(trace, offload_system()).memory[device])


def test_what_is_read_later_stays() -> None:
    """While c runs, a (for d), b and c are alive: 100 + 200 + 400; while d runs, a, c and d."""
    chain = [wide("a", 100, []), wide("b", 200, ["a"]), wide("c", 400, ["b"]), wide("d", 50, ["a", "c"])]
    assert memory(built(*chain)) == {"activations": 700}


def test_what_no_op_wrote_is_there_while_it_is_read() -> None:
    trace = built((elementwise(1000, 10, name="in"), []), (elementwise(10, 5, name="out"), ["in"]))
    assert memory(trace) == {"activations": 1010}


def test_a_copy_for_another_device_is_alive_there() -> None:
    """The three times faster device takes the linear; the other gets its 2 x 64 bytes, and what it writes."""
    trace = built((ops.linear(1, 64, 8, name="a"), []), wide("b", 24, ["a"]))
    found = ss.simulate(trace, two_processors(refuses="elementwise")).memory
    assert found["fast"] == {"weights": 2 * 64 * 8, "activations": 2 * (64 + 8)}
    assert found["slow"] == {"activations": 128 + 24}


def training_step(states: int = 3 * 4 * 64 * 64) -> Trace:
    """Two 64 x 64 linears on 8 tokens, their backward pass and the updates of their weights."""
    names = ("first.weight", "second.weight")
    weight = 2 * 64 * 64

    def linear(name: str, label: str, of: int) -> Op:
        return ops.linear(8, 64, 64, name=name, label=label, weight=names[of])

    def gradient(name: str, of: int) -> Op:
        return ops.matmul(1, 64, 64, 8, name=name, label="bwd_weight", weight=names[of])

    def update(of: int) -> Op:
        return elementwise(states + weight, states + weight, name=f"{names[of]}.update", label="update",
                           weight=names[of], stats={"state_bytes": states})  # fmt: skip

    return built(
        (linear("first", "fwd", 0), []), (linear("second", "fwd", 1), ["first"]),
        (gradient("second.bwd_weight", 1), ["first", "second"]),
        (linear("second.bwd_input", "bwd_input", 1), ["second"]),
        (gradient("first.bwd_weight", 0), ["second.bwd_input"]),
        (update(0), ["first", "first.bwd_weight"]),
        (update(1), ["second", "second.bwd_weight", "second.bwd_input"]),
        phase="train",
    )  # fmt: skip


def test_a_training_step_keeps_gradients_and_optimizer_state() -> None:
    """Both gradients are there after the backward pass; of activations, the last ones that it reads."""
    weight, state = 2 * 64 * 64, 3 * 4 * 64 * 64
    found = memory(training_step())
    assert found["weights"] == 2 * weight
    assert found["optimizer state"] == 2 * state
    assert found["gradients"] == 2 * weight
    assert sum(found.values()) >= 2 * (2 * weight + state)


def test_keys_and_values_of_a_training_step_are_activations() -> None:
    attention = ops.attention(2, 4, 4, 16, 32, 32, name="attention")
    kept = 2 * (2 * 4 * 32 * 32)
    assert memory(built((attention, [])))["KV cache"] == kept
    assert "KV cache" not in memory(built((attention, []), phase="train"))


def test_decode_steps_share_one_cache() -> None:
    """The second step's cache is the first one's with a token more."""
    steps = [(ops.attention(1, 4, 4, 16, 1, length, name=name), []) for name, length in
             (("attention", 32), ("step1.attention", 33))]  # fmt: skip
    assert memory(built(*steps, phase="decode"))["KV cache"] == 2 * 2 * 4 * 33 * 16


def test_parameters_whose_size_no_dim_gives_count() -> None:
    table = elementwise(32, 32, name="embed", weight="embed", stats={"parameter_bytes": 64_000})
    tied = ops.linear(1, 1000, 32, name="head", weight="embed")
    assert memory(built((table, []), (tied, ["embed"])))["weights"] == 64_000


class TestPatternsThatADeviceRunsAsOthers:
    """Weights lie in memory in the pattern that the device makes use of: its kernels read that one."""

    def held(self, sparsity: str, system: str, **fields: object) -> int:
        op = ops.linear(64, 4096, 4096, weight_sparsity=sparsity, **fields)
        trace = TraceBuilder("t", phase="prefill").add(op).build()
        ((_, kept),) = ss.simulate(trace, system).memory.items()
        return kept["weights"]

    @pytest.mark.parametrize("sparsity", ["1:4", "2:8", "1:8", "2:16"])
    def test_what_a_gpu_runs_as_2_4_takes_as_much_as_2_4(self, sparsity: str) -> None:
        card = "gpu/h100-sxm5-80gb"
        assert self.held(sparsity, card) == self.held("2:4", card) < self.held("dense", card) == 2 * 4096**2

    @pytest.mark.parametrize("system", ["gpu/h100-sxm5-80gb", "pim/bank-pim", "cpu/h100-host"])
    def test_what_runs_as_dense_takes_as_much_as_dense(self, system: str) -> None:
        sparsity = "unstructured:0.1" if system.startswith("gpu") else "1:8"
        assert self.held(sparsity, system) == self.held("dense", system)

    def test_rows_read_the_pattern_that_the_device_makes_use_of(self) -> None:
        def read(sparsity: str, system: str) -> int:
            op = ops.linear(64, 4096, 4096, weight_sparsity=sparsity)
            return ss.simulate(TraceBuilder("t").add(op).build(), system).ops[0].bytes

        card, array = "gpu/h100-sxm5-80gb", "accel/systolic-ws-128x128"
        assert read("1:8", card) == read("2:4", card) < read("unstructured:0.1", card) == read("dense", card)
        assert read("1:8", array) < read("2:4", array) < read("unstructured:0.1", array) == read("dense", array)

    def test_a_format_that_is_stated_stays(self) -> None:
        dense = self.held("dense", "cpu/h100-host")
        assert self.held("unstructured:0.1", "cpu/h100-host", weight_format="csr") < 0.5 * dense

    def test_an_array_for_the_pattern_holds_what_it_keeps(self) -> None:
        dense, kept = (self.held(each, "systems/sat-vcu1525", dtype="fp16") for each in ("dense", "1:8"))
        assert kept < 0.25 * dense

    def test_what_fits_is_what_a_device_runs(self) -> None:
        """Were 1:8 weights kept as such they would fit; the card runs them as 2:4, which does not."""
        op = ops.linear(64, 65536, 65536, weight_sparsity="1:8")
        trace = TraceBuilder("t", phase="prefill").add(op).build()
        small = {"gpu0.memory.capacity": "4 GB"}
        assert op.resident_bytes < 4e9 < op.with_(weight_sparsity="2:4").resident_bytes
        with pytest.raises(SimulationError, match="gpu0 is full"):
            ss.simulate(trace, ss.load_system("gpu/h100-sxm5-80gb", small))


def test_every_result_tells_its_memory() -> None:
    for level in (0, 1):
        result = ss.simulate(moe_trace(), offload_system(), "pregated", level=level)
        assert result.summary()["memory"] == {device: dict(own) for device, own in result.memory.items()}
        assert set(result.memory) == {"gpu0", "host"}


@pytest.mark.torch
def test_llama2_7b_with_adamw_does_not_fit_80_gb() -> None:
    """Weights and gradients of 2 bytes and AdamW's 12 bytes per parameter: 107.8 GB without activations."""
    pytest.importorskip("transformers")
    from simsparse.models.by_name import extract

    trace = extract("llama2-7b", "train", batch=8, seq=16)
    with pytest.raises(SimulationError, match=r"gpu0 is full: .*optimizer state 80\.86 GB.*capacity 80 GB"):
        ss.simulate(trace, "systems/h100-pcie5")
    kept = ss.simulate(trace, "systems/h200-pcie5").memory["gpu0"]
    assert sum(kept.values()) >= 16 * trace.meta["parameters"]
