"""Everything stays where it runs fastest."""

from __future__ import annotations

from simsparse.config.hardware import System
from simsparse.core import Schedule, Trace
from simsparse.policies.base import POLICIES, Policy, place, resident_footprint
from simsparse.policies.machine import machine_of
from simsparse.policies.program import Program, ProgramBuilder
from simsparse.policies.workload import workload_of


@POLICIES.register("resident")
class Resident(Policy):
    """Weights, KV cache and activations in the memory of the device that runs each op.

    Raises SimulationError when they do not fit.
    """

    name = "resident"
    validated = "sections offload and weight_stream of the GPU measurements"

    def plan(self, trace: Trace, system: System) -> Schedule:
        return Schedule(trace, self.name, place(trace, system, [False] * len(trace.ops)))

    def lower(self, schedule: Schedule, system: System, level: int) -> Program:
        workload = workload_of(schedule.trace)
        builder = ProgramBuilder(schedule, workload, machine_of(system), level)
        for index in range(len(schedule.trace.ops)):
            builder.op(index)
        return builder.build(resident_footprint(schedule, workload, [False] * len(schedule.trace.ops)))
