# SPDX-License-Identifier: Apache-2.0
"""RMS norms by torch's own function, which is one kernel on a GPU and many on the devices that a trace is made on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from simsparse.trace.capture.aten_names import FLOPS_PER_INPUT
from simsparse.trace.capture.event import EventRole

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture

RMS_NORMS = (functional.rms_norm, torch.rms_norm)
KERNEL = "_fused_rms_norm"


def record_rms_norm(capture: Capture, func: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> torch.Tensor:
    """The result of ``func``, one of RMS_NORMS, outside of training; recorded as the kernel that a GPU runs."""
    with capture.paused():
        out: torch.Tensor = func(*args, **given)
    named = {**dict(zip(("input", "normalized_shape", "weight"), args, strict=False)), **given}
    taken, weight = named["input"], named.get("weight")
    if not taken.numel():
        capture.fresh(out)
        return out
    reads = [capture.access(tensor) for tensor in (taken, weight) if tensor is not None]
    capture.add(EventRole.FUSED, KERNEL, reads, [out], taken.numel() * FLOPS_PER_INPUT[KERNEL])
    return out
