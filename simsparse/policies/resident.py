"""Everything stays where it runs fastest."""

from __future__ import annotations

from simsparse.config.hardware import System
from simsparse.core import Schedule, Trace
from simsparse.policies.base import POLICIES, Policy, devices_of, place, resident_footprint
from simsparse.policies.machine import Machine
from simsparse.policies.program import Layout, LayoutBuilder
from simsparse.policies.workload import workload_of


@POLICIES.register("resident")
class Resident(Policy):
    """Weights, KV cache and activations in the memory of the device that runs each op.

    Raises SimulationError when they do not fit. Left out: the time from the host's first launch to
    the first kernel, and from the last one to its wait (9 us on one H100 SXM5).
    """

    name = "resident"
    validated = "sections offload and weight_stream of the GPU measurements"

    def plan(self, trace: Trace, system: System) -> Schedule:
        return Schedule(trace, self.name, place(trace, system, [False] * len(trace.ops)))

    def layout(self, schedule: Schedule, machine: Machine) -> Layout:
        workload, devices = workload_of(schedule.trace), devices_of(schedule)
        builder = LayoutBuilder(workload, devices, machine)
        for index in range(len(devices)):
            builder.op(index)
        return builder.build(resident_footprint(workload, devices, [False] * len(devices)))
