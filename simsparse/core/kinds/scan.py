# SPDX-License-Identifier: Apache-2.0
"""Linear recurrences along a sequence: state space models (Mamba) and linear attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, VectorKind, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of
from simsparse.errors import SpecError

STATE_BYTES = 4
"""Bytes of an element of the state. Source: mamba_ssm keeps states in fp32."""


def scan(
    batch: int,
    heads: int,
    length: int,
    head_dim: int,
    state: int,
    dtype: str | DType = "bf16",
    *,
    groups: int = 1,
    name: str = "scan",
    **fields: Any,
) -> Op:
    """``h[t] = a[t] h[t-1] + b[t] x[t]``, ``y[t] = c[t] h[t]`` over ``length`` steps, from a state kept in memory.

    A head has ``head_dim`` inputs x and a state h of ``head_dim`` x ``state``; a is one number per head and step;
    ``groups`` groups of heads share b and c, ``state`` elements each. Mamba-1 is ``heads`` channels of ``head_dim`` 1;
    in linear attention ``state`` is the key dim, and ``groups`` is ``heads``. Raises SpecError on a bad dim or dtype,
    and when ``groups`` does not divide ``heads``.
    """
    dims = positive(batch=batch, heads=heads, groups=groups, length=length, head_dim=head_dim, state=state)
    return Op(SCAN.name, name, dims, DType.parse(dtype), **fields).checked()


class ScanKind(VectorKind):
    """A recurrence of ``length`` steps over a state (heads, head_dim, state) of each of ``batch`` sequences."""

    name = "scan"
    dims = ("batch", "heads", "groups", "length", "head_dim", "state")
    batch_dims = ("batch",)

    @property
    def factory(self) -> Callable[..., Op]:
        return scan

    def examples(self, dtype: str) -> list[Op]:
        return [
            scan(8, 80, 1, 64, 128, dtype, name="mamba2-decode"),
            scan(1, 80, 2048, 64, 128, dtype, name="mamba2-prefill"),
            scan(1, 16, 512, 64, 64, dtype, groups=16, name="linear-attention"),
        ]

    def check(self, op: Op) -> None:
        super().check(op)
        if op.dims["heads"] % op.dims["groups"]:
            raise SpecError(f"{op.dims['groups']} does not divide heads {op.dims['heads']}", key="groups")

    def flops(self, op: Op) -> int:
        """Per step and state element: decay, product and addition of the input, product and addition of the output."""
        return 5 * op.dims["length"] * self._states(op)

    def kv_bytes(self, op: Op) -> int:
        """The state before the first step."""
        return self._states(op) * STATE_BYTES

    def input_bytes(self, op: Op) -> int:
        """x, b, c and a of all steps, and the state."""
        d = op.dims
        step = d["heads"] * (d["head_dim"] + 1) + 2 * d["groups"] * d["state"]
        return bytes_of(d["batch"] * d["length"] * step, op.dtype) + self.kv_bytes(op)

    def output_bytes(self, op: Op) -> int:
        """y of all steps, and the state after the last one."""
        d = op.dims
        return bytes_of(d["batch"] * d["length"] * d["heads"] * d["head_dim"], op.dtype) + self.kv_bytes(op)

    def _states(self, op: Op) -> int:
        d = op.dims
        return d["batch"] * d["heads"] * d["head_dim"] * d["state"]


SCAN = KINDS.register("scan")(ScanKind())
