# SPDX-License-Identifier: Apache-2.0
"""A machine of round numbers, so that tests can do its arithmetic by hand.

A fake processor takes 1 us for any op of LINEAR kind and 1 us for every expert that a MOE_FFN hits,
``speed`` times faster when that is given; everything else takes 0.5 us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from simsparse.config.hardware import Connection, System
from simsparse.config.parts.link import LinkPart
from simsparse.config.quantity import Bytes, Multiplier, Part, Watts
from simsparse.core import KINDS, Action, Op, OpKind, Role, Trace, TraceBuilder, ops
from simsparse.devices.base import DEVICES, CostArrays, Device
from simsparse.devices.roofline import require_supported

READ: Action = ("hbm", "read_byte")
WRITE: Action = ("hbm", "write_byte")


def number(value: Any) -> dict[str, Any]:
    """A sourced value as YAML would give it."""
    return {"value": value, "source": "test", "basis": "derived"}


class FakePart(Part):
    kind: Literal["fake", "fake_host"] = "fake"
    capacity: Bytes
    speed: Multiplier
    idle: Watts
    refuses: str = ""


class FakeHostPart(FakePart):
    role = Role.HOST
    kind: Literal["fake_host"] = "fake_host"


class FakeDevice(Device):
    kind = "fake"
    lanes: ClassVar[tuple[str, ...]] = ("compute", "h2d", "d2h")
    part: FakePart

    op_kinds = frozenset(KINDS)

    def unsuited(self, op: Op) -> str | None:
        return f"{op.kind} is refused" if op.kind == self.part.refuses else None

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        micros = np.array([self._micros(op) for op in ops])
        moved = np.array([op.min_bytes for op in ops], np.int64)
        seconds = micros * 1e-6 / self.part.speed.si
        return CostArrays(seconds, {"compute": seconds}, np.zeros(len(ops), np.intp),
                          {READ: moved, WRITE: 0 * moved}, ["by hand"] * len(ops), level)  # fmt: skip

    @staticmethod
    def _micros(op: Op) -> float:
        if op.kind == OpKind.MOE_FFN:
            return float(len(op.expert_counts))
        return 1.0 if op.kind == OpKind.LINEAR else 0.5

    @property
    def prices(self) -> Mapping[Action, float]:
        return {READ: 1e-12, WRITE: 2e-12}

    @property
    def static_watts(self) -> float:
        return self.part.idle.si

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.capacity.si)


class FakeHost(FakeDevice):
    kind = "fake_host"
    lanes = ("compute",)

    @property
    def prices(self) -> Mapping[Action, float]:
        return {("dram", "read_byte"): 10e-12, ("dram", "write_byte"): 10e-12, **super().prices}


DEVICES.register("fake")(FakeDevice)
DEVICES.register("fake_host")(FakeHost)


def processor(capacity: str = "1 GB", speed: int = 1, refuses: str = "") -> FakePart:
    return FakePart.model_validate(
        {"name": "fake/processor", "description": "", "capacity": number(capacity), "speed": number(speed),
         "idle": number("10 W"), "refuses": refuses}
    )  # fmt: skip


def host(capacity: str = "100 GB") -> FakeHostPart:
    return FakeHostPart.model_validate(
        {"name": "fake/host", "description": "", "capacity": number(capacity),
         "speed": number(1), "idle": number("5 W")}
    )  # fmt: skip


def link(bandwidth: str = "1 GB/s", latency: str = "1 us", issue: str = "0 us") -> LinkPart:
    return LinkPart.model_validate({
        "name": "link/test", "kind": "link", "description": "", "bandwidth": number(bandwidth),
        "efficiency": number(1), "duplex": number(2), "latency": number(latency), "issue": number(issue),
        "energy": {"byte": number("3 pJ/byte"), "static": number("1 W")},
    })  # fmt: skip


def offload_system(capacity: str = "1 GB", issue: str = "0 us", host_capacity: str = "100 GB") -> System:
    """``gpu0`` and ``host``, joined by ``pcie``: 1 GB/s, 1 us latency."""
    return System("offload", "", {"gpu0": processor(capacity), "host": host(host_capacity)},
                  (Connection("pcie", link(issue=issue), ("host", "gpu0")),))  # fmt: skip


def two_processors(*, refuses: str = "", capacity: str = "1 GB") -> System:
    """``slow`` and a three times faster ``fast``, joined by ``bus``."""
    return System("pair", "", {"slow": processor(), "fast": processor(capacity, speed=3, refuses=refuses)},
                  (Connection("bus", link("1 TB/s", "0 us"), ("slow", "fast")),))  # fmt: skip


def moe_trace(layers: int = 3, experts: int = 4, hit: int = 2, linears: int = 2, d: int = 16) -> Trace:
    """Layers of ``linears`` d x d GEMMs and one MoE that hits the first ``hit`` experts; no deps but order."""
    builder = TraceBuilder("moe", phase="decode")
    for layer in range(layers):
        module = f"layers.{layer}"
        for i in range(linears):
            builder.add(ops.linear(1, d, d, name=f"{module}.q{i}", module=module))
        builder.add(ops.moe_ffn(1, d, 4 * d, experts, routing=[list(range(hit))], name=f"{module}.moe", module=module))
    return builder.build()
