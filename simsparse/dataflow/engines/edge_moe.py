# SPDX-License-Identifier: Apache-2.0
"""Edge-MoE: mixture-of-experts layers expert by expert, the next weights loading while the present ones compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from simsparse.dataflow.base import ceil_div
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, same_k
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity


class EdgeMoE(SparseEngine):
    """A dense array of ``rows`` inputs by ``cols`` outputs; what it skips is experts and the reload of their weights.

    A weight matrix arrives in beats of ``axi_bits``, row by row, ``axi_latency`` cycles after it is asked for; then
    every token takes ceil(k / rows) ceil(n / cols) cycles. Of an MoE layer the first layer of an expert computes while
    its second loads, and that while the next expert's first loads (two buffers). With ``by_expert`` 1 each expert
    loads once, for all its tokens; with 0 it loads again for every token routed to it, in the tokens' order. Zeros
    cost as much as other values. Source: loops and buffers of the published HLS code (github.com/sharc-lab/Edge-MoE),
    one beat and one array step a cycle. Left out: gating, pipeline depth, activations' own traffic behind the array.
    """

    name: ClassVar[str] = "edge_moe"
    settings: ClassVar[dict[str, str]] = {
        "weight_bits": "bits of a stored weight",
        "axi_bits": "bits of a beat of weights, one a cycle",
        "axi_latency": "cycles from a request to its first beat",
        "by_expert": "1: tokens are queued by expert; 0: experts run in the tokens' order",
    }

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        shape = same_k(weights, inputs)
        return _alone(shape, effectual_macs(weights, inputs), machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        return _alone(shape, round(weights.kept(n, k) * inputs.kept(m, k) / k), machine)

    def experts(self, counts: Sequence[int], d_model: int, d_ff: int, gated: bool, machine: PeConfig) -> Work:
        up = 2 * d_ff if gated else d_ff
        visits = list(counts) if machine.settings["by_expert"] else [1] * sum(counts)
        layers = [layer for tokens in visits for layer in ((tokens, up, d_model), (tokens, d_model, d_ff))]
        cycles, compute = ping_pong(layers, machine)
        tokens = sum(counts)
        read = sum(weight_bytes(n, k, machine) for _, n, k in layers) + _bytes(tokens * d_model, machine)
        write = _bytes(tokens * d_model, machine)
        macs = tokens * d_model * (up + d_ff)
        causes = {"compute": compute, "load": cycles - compute}
        events = {"expert_loads": len(visits)}
        return Work(cycles, macs, causes, read, write, 2 * (read + write), events)


def ping_pong(layers: Sequence[tuple[int, int, int]], machine: PeConfig) -> tuple[int, int]:
    """Cycles of (tokens, n, k) products in order on two weight buffers, in all and of computing alone.

    While product i computes, the weights of i + 1 load; both must end before i + 1 begins.
    """
    load = [load_cycles(n, k, machine) for _, n, k in layers]
    compute = [compute_cycles(tokens, n, k, machine) for tokens, n, k in layers]
    both = sum(max(busy, coming) for busy, coming in zip(compute, load[1:], strict=False))
    return (load[0] + both + compute[-1] if layers else 0), sum(compute)


def load_cycles(n: int, k: int, machine: PeConfig) -> int:
    """Beats of n rows of k weights, and the wait for the first."""
    a_beat = machine.whole("axi_bits") // machine.whole("weight_bits")
    return n * int(ceil_div(k, a_beat)) + round(machine.settings["axi_latency"])


def compute_cycles(tokens: int, n: int, k: int, machine: PeConfig) -> int:
    """Array steps of ``tokens`` rows of inputs."""
    return tokens * int(ceil_div(k, machine.rows) * ceil_div(n, machine.cols))


def weight_bytes(n: int, k: int, machine: PeConfig) -> int:
    """Bytes of a weight matrix."""
    return -(-n * k * machine.whole("weight_bits") // 8)


def _alone(shape: tuple[int, int, int], macs: int, machine: PeConfig) -> Work:
    m, n, k = shape
    load, compute = load_cycles(n, k, machine), compute_cycles(m, n, k, machine)
    read, write = weight_bytes(n, k, machine) + _bytes(m * k, machine), _bytes(m * n, machine)
    return Work(load + compute, macs, {"compute": compute, "load": load}, read, write, 2 * (read + write))


def _bytes(elements: int, machine: PeConfig) -> int:
    return -(-elements * machine.value_bits // 8)


ENGINES.register("edge_moe")(EdgeMoE())
