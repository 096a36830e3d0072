# SPDX-License-Identifier: Apache-2.0
"""Edge-MoE against the loops of its published code: loading, computing and reloading experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simsparse.config.hardware import load_hardware
from simsparse.dataflow.engines.edge_moe import EdgeMoE, compute_cycles, load_cycles
from simsparse.dataflow.sparse_engine import PeConfig, Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, CaseTable, Sensitivity, Varied, case_rows

PART = "accel/edge-moe-zcu102"
TOKENS, EXPERTS, TOP_K, D_MODEL, D_FF = 129, 16, 2, 192, 384
"""One MoE layer of the published model: 256 x 128 pixels in patches of 16 and a class token."""


@CASES.register("edge-moe")
def edge_moe() -> CaseReport:
    """Cycles of one expert and the reload ratio, each within 5 %."""
    published = {row["quantity"]: float(row["cycles"]) for row in case_rows("edge_moe", "loops.csv")}
    simulated = _quantities(_machine())
    units = {"reload": "x"}
    return CaseReport(
        "edge-moe",
        "Edge-MoE: one expert at a time",
        "Loops of the published HLS code (github.com/sharc-lab/Edge-MoE), one iteration a cycle; the 16x is what "
        "the order by tokens reloads.",
        "The engine edge_moe on accel/edge-moe-zcu102: beats of weights with the AXI latency, ping-pong buffers, an "
        "MoE layer of 129 tokens, 16 experts, 2 a token.",
        [CasePoint(name, published[name], simulated[name], units.get(name, "cycles")) for name in published],
        tolerance=0.05,
        assumed=("even routing in the layer's cycles: 129 tokens over 16 experts, two each",),
        sensitivity=_sensitivity(_machine()),
        tables=(_orders(),),
    )


def _quantities(machine: PeConfig) -> dict[str, float]:
    both = [(D_FF, D_MODEL), (D_MODEL, D_FF)]
    load = sum(load_cycles(n, k, machine) for n, k in both)
    token = sum(compute_cycles(1, n, k, machine) for n, k in both)
    queued, by_token = _weights_read(1, machine), _weights_read(0, machine)
    return {"expert_load": float(load), "token_compute": float(token),
            "mean_expert_compute": token * TOKENS * TOP_K / EXPERTS, "reload": by_token / queued}  # fmt: skip


VARIED.register("edge-moe")(Varied(PART, lambda overrides: _quantities(_machine(overrides))))


def _machine(overrides: Mapping[str, str] | None = None) -> PeConfig:
    device = SparseEngineDevice(load_hardware(PART, overrides))
    return device.machine("fp32")


def _sensitivity(machine: PeConfig) -> list[Sensitivity]:
    found = []
    for latency in (0.0, 64.0, 256.0):
        moved = replace(machine, settings={**machine.settings, "axi_latency": latency})
        load = load_cycles(D_FF, D_MODEL, moved) + load_cycles(D_MODEL, D_FF, moved)
        found.append(Sensitivity("expert_load", "AXI latency", f"{latency:.0f} cycles", load))
    return found


def _orders() -> CaseTable:
    """An MoE layer in both orders: cycles, milliseconds, megabytes of weights."""
    rows = []
    for name, by_expert in (("by expert", 1), ("by token", 0)):
        cost = _layer(by_expert, _machine())
        rows.append((name, f"{cost.cycles:,}", f"{cost.cycles / 300e3:.2f}", f"{cost.dram_read / 1e6:.2f}",
                     f"{100 * cost.causes['load'] / cost.cycles:.0f} %"))  # fmt: skip
    return CaseTable("One MoE layer", ("order", "cycles", "ms at 300 MHz", "MB read", "waiting for weights"), rows)


def _layer(by_expert: int, machine: PeConfig) -> Work:
    chosen = replace(machine, settings={**machine.settings, "by_expert": float(by_expert)})
    share, more = divmod(TOKENS * TOP_K, EXPERTS)
    counts = [share + (expert < more) for expert in range(EXPERTS)]
    return EdgeMoE().experts(counts, D_MODEL, D_FF, False, chosen)


def _weights_read(by_expert: int, machine: PeConfig) -> int:
    """Bytes of weights of a layer: all that is read but the tokens."""
    return _layer(by_expert, machine).dram_read - 4 * TOKENS * TOP_K * D_MODEL
