"""Everything stays where it runs fastest."""

from __future__ import annotations

from simsparse.core import Placements, Trace
from simsparse.lowering.command_graph import CommandGraph, GraphBuilder
from simsparse.lowering.footprint import footprint
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import trace_index_of
from simsparse.policies.base import POLICIES, Policy
from simsparse.policies.placement.greedy import Greedy


@POLICIES.register("resident")
class Resident(Policy):
    """Weights, KV cache and activations in the memory of the device that runs each op.

    Raises SimulationError when they do not fit. Left out: the time from the host's first launch to
    the first kernel, and from the last one to its wait (9 us on one H100 SXM5).
    """

    name = "resident"
    validated = "sections offload and weight_stream of the GPU measurements"

    def place(self, trace: Trace, machine: Machine) -> Placements:
        devices = Greedy().devices(trace_index_of(trace), machine, [False] * len(trace.ops))
        return Placements(trace, self.name, devices, devices)

    def graph(self, placements: Placements, machine: Machine) -> CommandGraph:
        index, devices = trace_index_of(placements.trace), placements.devices
        builder = GraphBuilder(index, devices, machine)
        for i in range(len(devices)):
            builder.op(i)
        return builder.build(footprint(index, devices, [False] * len(devices)))
