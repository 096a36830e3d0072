# SPDX-License-Identifier: Apache-2.0
"""Decoding weights that are stored in a format which a device does not multiply: beside the rest of an operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simsparse.core import Op
from simsparse.devices.base import CostArrays, Device
from simsparse.devices.roofline import dominant


def with_decoding(device: Device, ops: Sequence[Op], costs: CostArrays) -> CostArrays:
    """``costs`` with the time that ``device`` needs to decode the weights of ``ops``, where it states a rate.

    A decoder works while the weights stream in and are multiplied, so that an op takes the longer of both.
    """
    rates = device.decode_rates
    if not rates:
        return costs
    needs = [device.decodes(op) and op.weight_format in rates for op in ops]
    if not any(needs):
        return costs
    seconds = np.array([
        _dense_bytes(op) / rates[op.weight_format] if need else 0.0 for op, need in zip(ops, needs, strict=True)
    ])  # fmt: skip
    contributors = {**costs.contributors, "decode": seconds}
    return replace(
        costs, latency_s=np.maximum(costs.latency_s, seconds), contributors=contributors, bound=dominant(contributors)
    )


def _dense_bytes(op: Op) -> float:
    """Bytes of the weights of ``op`` once they are decoded."""
    return sum(count * n * k for count, _, n, k in op.gemms) * op.w_dtype.bits / 8
