# SPDX-License-Identifier: Apache-2.0
"""The core types: frozen, without I/O, known to every other package."""

from simsparse.core.cost import OpCost, OpCycles
from simsparse.core.counts import Action, ActionCounts
from simsparse.core.kernel import KernelCall
from simsparse.core.kind import KINDS, Gemm, Kind, OpKind, Unit
from simsparse.core.op import Op
from simsparse.core.placements import Placement, Placements
from simsparse.core.result import NO_ESTIMATE, WAITING, CacheUse, ErrorEstimate, Keep, OpResult, Result
from simsparse.core.role import Role
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType, TensorSpec, bytes_of
from simsparse.core.timeline import Span, Timeline
from simsparse.core.trace import Trace, TraceBuilder
from simsparse.sparsity import DENSE, Sparsity

__all__ = [
    "DENSE", "KINDS", "NO_ESTIMATE", "WAITING", "Action", "ActionCounts", "CacheUse", "DType", "ErrorEstimate", "Gemm",
    "Keep", "KernelCall", "Kind",
    "Op", "OpCost", "OpCycles", "OpKind", "OpResult", "Placement", "Placements", "Result", "Role", "Routing", "Span",
    "Sparsity", "TensorSpec", "Timeline", "Trace", "TraceBuilder", "Unit", "bytes_of",
]  # fmt: skip
