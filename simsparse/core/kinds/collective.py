"""Collectives over a group of devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simsparse.core.kind import KINDS, Kind, Unit, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType


def collective(kind: str, bytes: int, ranks: int, *, name: str = "collective", **fields: Any) -> Op:
    """A collective over ``ranks`` devices, ``bytes`` the input of one rank.

    ``kind`` is all_reduce, all_to_all, all_gather, reduce_scatter or send_recv. Raises SpecError.
    """
    dims = positive(bytes=bytes, ranks=ranks)
    return Op(COLLECTIVE.name, name, dims, DType.INT8, label=kind, **fields).checked()


class CollectiveKind(Kind):
    """``bytes`` of input per rank, over ``ranks`` devices; the label names which collective it is."""

    name = "collective"
    dims = ("bytes", "ranks")
    unit = Unit.LINK
    label_matters = True
    labels = ("all_gather", "all_reduce", "all_to_all", "reduce_scatter", "send_recv")

    @property
    def factory(self) -> Callable[..., Op]:
        return collective

    def examples(self, dtype: str) -> list[Op]:
        del dtype
        return [collective(label, 1 << 20, 2, name=label) for label in self.labels]

    def input_bytes(self, op: Op) -> int:
        return op.dims["bytes"]

    def output_bytes(self, op: Op) -> int:
        return op.dims["bytes"]


COLLECTIVE = KINDS.register("collective")(CollectiveKind())
