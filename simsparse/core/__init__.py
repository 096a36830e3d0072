"""The core types: frozen, without I/O, known to every other package."""

from simsparse.core.cost import OpCost
from simsparse.core.counts import Action, ActionCounts
from simsparse.core.kernel import KernelCall
from simsparse.core.op import DIMS, Op, OpKind
from simsparse.core.placements import Placement, Placements
from simsparse.core.result import OpResult, Result
from simsparse.core.role import Role
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType, TensorSpec, bytes_of
from simsparse.core.timeline import Span, Timeline
from simsparse.core.trace import Trace, TraceBuilder
from simsparse.sparsity import DENSE, Sparsity

__all__ = [
    "DENSE", "DIMS", "Action", "ActionCounts", "DType", "KernelCall", "Op", "OpCost", "OpKind", "OpResult",
    "Placement", "Placements", "Result", "Role", "Routing", "Span", "Sparsity", "TensorSpec", "Timeline",
    "Trace", "TraceBuilder", "bytes_of",
]  # fmt: skip
