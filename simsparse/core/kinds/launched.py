# SPDX-License-Identifier: Apache-2.0
"""Kernels that a framework launches for parts of an op, named by the function that launches them."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from simsparse.core.kernel import KernelCall
from simsparse.core.kind import KINDS, MovedKind
from simsparse.core.op import Op
from simsparse.core.tensor import DType


def launched(kernel: KernelCall, fresh_bytes: int = 0, crossed: int = 0) -> Op:
    """The kernel as an op; ``fresh_bytes`` of what it reads were written by the kernel before it.

    ``crossed``: elements that it reads across the order in which they lie in memory.

    Raises SpecError when its type is unknown or a number is out of range.
    """
    dims = {
        "read_bytes": kernel.read_bytes, "write_bytes": kernel.write_bytes, "flops": kernel.flops,
        "fresh_bytes": min(fresh_bytes, kernel.read_bytes), "rows": kernel.rows, "cols": kernel.cols,
        "strided": int(kernel.strided), **({"crossed": crossed} if crossed else {}),
    }  # fmt: skip
    return Op(LAUNCHED.name, kernel.name, dims, DType.parse(kernel.dtype), label=kernel.name).checked()


class LaunchedKind(MovedKind):
    """Bytes and FLOPs, outputs and the elements reduced to each, and whether addresses are computed one by one.

    ``passed_bytes``: what the pass that the kernel is part of reads and writes, before that kernel runs again.
    """

    name = "launched"
    dims = ("read_bytes", "write_bytes", "flops", "fresh_bytes", "rows", "cols", "strided")
    optional_dims = MappingProxyType({"crossed": 0, "passed_bytes": 0})
    zero_dims = frozenset({"read_bytes", "write_bytes", "flops", "fresh_bytes", "crossed", "passed_bytes"})
    flags = frozenset({"strided"})
    label_matters = True

    @property
    def factory(self) -> Callable[..., Op]:
        return launched

    def examples(self, dtype: str) -> list[Op]:
        size, kind = 1 << 20, DType.parse(dtype)
        values = size * 8 // kind.bits
        return [
            launched(KernelCall("mul", 2 * size, size, values, kind, values), size),
            launched(KernelCall("repeat_kv", size, 8 * size, 0, kind, 8 * values, 1, True)),
            launched(KernelCall("mean", size, size // 64, values, kind, values // 64, 64)),
            launched(KernelCall("_softmax", size, size, 5 * values, kind, values // 64, 64)),
            launched(KernelCall("index", size, size, 0, kind, values // 64, 64)),
        ]


LAUNCHED = KINDS.register("launched")(LaunchedKind())
