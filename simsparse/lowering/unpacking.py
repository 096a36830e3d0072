# SPDX-License-Identifier: Apache-2.0
"""How weights cross a link, and the work that makes them dense where they have come.

They cross as the trace stores them (dense, a bitmap, N:M, a codebook), or rounded to fewer bits with a scale per group.
A kernel reads what has come and writes dense weights, on the device before the op that reads them, or on the host
before the copy, which then moves dense ones. What it spends on finding places and on scaling is taken to hide behind
these bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.core import Op, ops
from simsparse.sparsity import DENSE, USUAL

FREE, DEVICE, HOST = "free", "device", "host"
PLACES = (FREE, DEVICE, HOST)
SCALE_BITS = 16


@dataclass(frozen=True)
class Packing:
    """``bits`` of a weight on the link, with a scale of 16 bits for each ``group`` (None: as the trace stores it).

    ``unpack``: where weights become dense: ``device``, ``host``, or ``free``, nowhere or within the product.
    """

    bits: float | None = None
    group: int = 128
    unpack: str = FREE

    def packed(self, op: Op, stored: int) -> int:
        """Bytes that cross the link for ``stored`` bytes of the weights of ``op``."""
        if self.bits is None:
            return stored
        return round(stored * (self.bits + SCALE_BITS / self.group) / op.w_dtype.bits)

    def work(self, op: Op, stored: int) -> tuple[Op | None, int]:
        """The work that unpacks ``stored`` bytes of the weights of ``op``, None of dense ones, and the dense bytes."""
        whole = op.with_(weight_sparsity=DENSE, weight_format=USUAL).weight_bytes
        dense, packed = stored * whole // max(1, op.weight_bytes), self.packed(op, stored)
        if packed >= dense:
            return None, packed
        return ops.elementwise(packed, dense, 2 * dense * 8 // op.w_dtype.bits, op.dtype, label="unpack",
                               name="unpack", module=op.module), dense  # fmt: skip
