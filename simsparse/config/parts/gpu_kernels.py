# SPDX-License-Identifier: Apache-2.0
"""Kernel libraries: what a framework's kernels do on an architecture, in numbers that no card owns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simsparse.config.parts.gpu_attention import GpuFlexAttention, GpuPaged, GpuSdpa
from simsparse.config.parts.gpu_indexed import GpuIndexedKernels, GpuSkipRows
from simsparse.config.parts.gpu_latent import GpuLatent
from simsparse.config.parts.gpu_moe import GpuMoe
from simsparse.config.parts.gpu_pointwise import (
    GpuBsrKernels,
    GpuConvKernels,
    GpuCsrKernels,
    GpuGatherKernels,
    GpuNormKernels,
    GpuReduceKernels,
    GpuSoftmaxKernels,
    GpuStreamKernels,
    GpuTopkKernels,
    GpuZeroCopyKernels,
)
from simsparse.config.parts.gpu_tile_kernels import GpuGemmKernels
from simsparse.config.parts.gpu_tiled_attention import GpuTiledAttention
from simsparse.config.parts.gpu_weight_only import GpuWeightOnly, GpuWeightOnlyFew
from simsparse.config.quantity import Frozen, Seconds, shown
from simsparse.config.remember import read_noted
from simsparse.config.validated import validate_document
from simsparse.config.yaml import Document
from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file


class HostCalls(Frozen):
    """What the host takes to call the framework once, from one call to the next, kernels launched in the background.

    ``sparse24``: of a linear layer with 2:4 weights, dispatched and planned anew in Python. ``collective``: of a
    collective by torch.distributed, ``send_recv``: of a send and its receive; None where they were not measured.
    """

    call: Seconds
    sparse24: Seconds
    collective: Seconds | None = None
    send_recv: Seconds | None = None


class KernelLibrary(Frozen):
    """The kernels of one library on one architecture, by class of kernel.

    Values are in units that carry over to another card of the architecture: seconds of launches and
    waits, cycles of the card's clock, bytes per cycle and SM, shares of a peak. A file may name a ``base``, a
    library whose sections hold where the file has none: a serving engine calls the framework's kernels for the rest.
    """

    name: str
    architecture: str
    description: str
    host: HostCalls | None = None
    gemm: GpuGemmKernels = GpuGemmKernels()
    weight_only: GpuWeightOnly | None = None
    weight_only_few: GpuWeightOnlyFew | None = None
    stream: GpuStreamKernels
    reduce: GpuReduceKernels
    norm: GpuNormKernels
    softmax: GpuSoftmaxKernels
    gather: GpuGatherKernels
    topk: GpuTopkKernels
    conv: GpuConvKernels
    csr: GpuCsrKernels
    bsr: GpuBsrKernels
    zerocopy: GpuZeroCopyKernels
    sdpa: GpuSdpa
    moe: GpuMoe
    paged: GpuPaged | None = None
    flex: GpuFlexAttention | None = None
    latent: GpuLatent | None = None
    tiled: GpuTiledAttention | None = None
    indexed: GpuIndexedKernels | None = None
    skip_rows: GpuSkipRows | None = None


def libraries() -> list[tuple[str, str]]:
    """Every library that has a file, with the architecture of the file."""
    files = (data_root() / "hw_models/kernels").glob("*/*.yaml")
    return sorted((path.parent.name, path.stem) for path in files)


def library_names(architecture: str) -> list[str]:
    """Libraries that have kernels for ``architecture``."""
    return [name for name, own in libraries() if own == architecture]


def library_file(name: str, architecture: str) -> Path:
    """The file of the library ``name`` on ``architecture``, whether it is there or not."""
    return data_root() / "hw_models/kernels" / name / f"{architecture}.yaml"


def read_library(name: str, architecture: str) -> KernelLibrary:
    """The library ``name`` on ``architecture``. Raises SpecError that names the file or the libraries there are."""
    known = library_names(architecture)
    path = library_file(name, architecture)
    if name not in known or not is_file(path):
        raise SpecError(f"{shown(name)} has no kernels for {architecture}; {nearest(name, known)}", key="kernels")
    document = read_noted(path)
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    own = {key: value for key, value in document.data.items() if key != "base"}
    sections = {**_base(document, name, architecture), **own, "name": name, "architecture": architecture}
    library: KernelLibrary = validate_document(document, KernelLibrary, sections)
    return library


def _base(document: Document, name: str, architecture: str) -> dict[str, Any]:
    """Sections of the library that ``document`` builds on. Raises SpecError when there is none, or it builds on one."""
    base = document.data.get("base")
    if base is None:
        return {}
    if base == name or base not in library_names(architecture):
        raise document.error(("base",), f"{shown(base)} has no kernels for {architecture}")
    found = read_library(base, architecture)
    return {key: getattr(found, key) for key in KernelLibrary.model_fields}
