# SPDX-License-Identifier: Apache-2.0
"""Operators: what a workload asks of a machine, in shapes and bytes, free of any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simsparse.core.kernel import KernelCall
from simsparse.core.kind import KINDS, Gemm, Kind, Unit
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType, whole
from simsparse.errors import SpecError
from simsparse.sparsity import DENSE, USUAL, Sparsity
from simsparse.sparsity.formats.storage import storage_text

Signature = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One operator of a trace.

    ``kind`` is a name of KINDS, and ``definition`` the Kind of that name, which gives ``dims`` their meaning.
    ``label`` refines a kind (``rmsnorm``, ``all_to_all``). ``weight`` names the parameter that the op reads, so that
    residency and sharing can be followed; ``module`` is the torch module path. ``deps`` are names of earlier ops.
    ``stats`` are measured facts about the real weights or activations (density, N:M conformity). ``bias``: a vector
    of ``w_dtype`` is read with the weights, one element per output. ``weight_dtype`` and ``output_dtype`` are given
    where they differ from ``dtype``, that of the inputs; ``output_dtype`` counts in products with weights or of two
    activations. ``weight_format``: how the weights are stored, as
    text such as ``csr`` or ``bsr:32``; ``usual`` leaves that to each device, and counts the sparsity's usual format
    where weights are copied or held. ``latent_kv``: the values of an attention are the
    first ``v_head_dim`` elements of its keys, so that one cache is read for both (multi-head latent attention,
    absorbed). ``kernels``: what the framework launched for an op that a good kernel would fuse; empty where that is
    one kernel, the op itself. ``call``: which call of the framework launches the op, from 1; 0 where no host does.
    ``src`` and ``dst``: the devices of a transfer. ``group``: names of groups and devices that a collective joins, in
    the order of ranks; empty for all processors. Ops with equal ``signature`` cost the same on the same part.

    Raises SpecError when ``kind`` or ``weight_format`` is unknown, or a dim is missing, unknown or no whole number from
    0 to 2**62.
    """

    kind: str
    name: str
    dims: Mapping[str, int]
    dtype: DType = DType.BF16
    weight_dtype: DType | None = None
    weight_sparsity: Sparsity = DENSE
    input_sparsity: Sparsity = DENSE
    weight_format: str = USUAL
    label: str = ""
    module: str = ""
    weight: str | None = None
    deps: tuple[str, ...] = ()
    routing: Routing | None = None
    src: str | None = None
    dst: str | None = None
    group: tuple[str, ...] = ()
    bias: bool = False
    latent_kv: bool = False
    output_dtype: DType | None = None
    stats: Mapping[str, Any] = field(default_factory=dict)
    kernels: tuple[KernelCall, ...] = ()
    call: int = 0

    definition: Kind = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definition", KINDS.get(self.kind))
        if self.weight_format != USUAL:
            object.__setattr__(self, "weight_format", storage_text(self.weight_format))
        self._check_texts()
        self._parse()
        expected, optional = self.definition.dims, self.definition.optional_dims
        if not set(expected) <= set(self.dims) <= {*expected, *optional}:
            more = f" and may have {', '.join(optional)}" if optional else ""
