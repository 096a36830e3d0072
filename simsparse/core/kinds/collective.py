# SPDX-License-Identifier: Apache-2.0
"""Collectives over a group of devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simsparse.core.kind import KINDS, Kind, Unit, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType


def collective(
    kind: str, bytes: int, ranks: int, *, group: str | Sequence[str] = (), name: str = "collective",
    dtype: str | DType = DType.INT8, **fields: Any,
) -> Op:  # fmt: skip
    """A collective over ``ranks`` devices, ``bytes`` the input of one rank, or of the root where that alone has one.

    ``kind`` is all_reduce, all_to_all, all_gather, reduce_scatter, broadcast, reduce, gather, scatter or send_recv; the
    first rank is the root. ``group`` is the name of a group of the system, or names of groups and devices in the order
    of ranks: the first ``ranks`` take part, those of all processors where there is no group. ``dtype`` is what a
    reduction adds up, which decides whether a switch can do so; bytes stay bytes. Raises SpecError.
    """
    members = (group,) if isinstance(group, str) else tuple(group) if isinstance(group, Sequence) else group
    dims = positive(bytes=bytes, ranks=ranks)
    return Op(COLLECTIVE.name, name, dims, DType.parse(dtype), label=kind, group=members, **fields).checked()


EXPERTS = "experts"
"""Fact of an all-to-all: over how many experts its rows go, each of which a one-sided kernel has a counter for."""


class CollectiveKind(Kind):
    """``bytes`` of input per rank, over ``ranks`` devices; the label names which collective it is."""

    name = "collective"
    dims = ("bytes", "ranks")
    batch_dims = ("bytes",)
    unit = Unit.LINK
    label_matters = True
    priced_facts = (EXPERTS,)
    labels = ("all_gather", "all_reduce", "all_to_all", "broadcast", "gather", "reduce", "reduce_scatter", "scatter",
              "send_recv")  # fmt: skip

    @property
    def factory(self) -> Callable[..., Op]:
        return collective

    def examples(self, dtype: str) -> list[Op]:
        del dtype
        return [collective(label, 1 << 20, 2, name=label) for label in self.labels]

    def input_bytes(self, op: Op) -> int:
        return op.dims["bytes"]

    def output_bytes(self, op: Op) -> int:
        size, ranks = op.dims["bytes"], op.dims["ranks"]
        whole, part = size * ranks, -(-size // ranks)
        sizes = {"all_gather": whole, "gather": whole, "reduce_scatter": part, "scatter": part}
        return sizes.get(op.label, size)

    def holders(self, op: Op) -> range:
        """The ranks that have the result."""
        ranks = op.dims["ranks"]
        return {"reduce": range(1), "gather": range(1), "send_recv": range(1, 2)}.get(op.label, range(ranks))


COLLECTIVE = CollectiveKind()
KINDS.register("collective")(COLLECTIVE)
