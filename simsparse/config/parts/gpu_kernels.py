"""Kernel libraries: what a framework's kernels do on an architecture, in numbers that no card owns."""

from __future__ import annotations

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
from simsparse.config.quantity import Frozen, Seconds, shown
from simsparse.config.yaml import read_yaml
from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file


class HostCalls(Frozen):
    """What the host takes to call the framework once, from one call to the next, kernels launched in the background."""

    call: Seconds


class KernelLibrary(Frozen):
    """The kernels of one library on one architecture, by class of kernel.

    Values are in units that carry over to another card of the architecture: seconds of launches and
    waits, cycles of the card's clock, bytes per cycle and SM, shares of a peak.
    """

    name: str
    architecture: str
    description: str
    host: HostCalls | None = None
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


def library_names(architecture: str) -> list[str]:
    """Libraries that have kernels for ``architecture``."""
    return sorted(path.parent.name for path in (data_root() / "hw_models/kernels").glob(f"*/{architecture}.yaml"))


def read_library(name: str, architecture: str) -> KernelLibrary:
    """The library ``name`` on ``architecture``. Raises SpecError that names the file or the libraries there are."""
    known = library_names(architecture)
    path = data_root() / "hw_models/kernels" / name / f"{architecture}.yaml"
    if name not in known or not is_file(path):
        raise SpecError(f"{shown(name)} has no kernels for {architecture}; {nearest(name, known)}", key="kernels")
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    from simsparse.config.hardware import validate_document  # hardware loads the parts that hold libraries

    library: KernelLibrary = validate_document(
        document, KernelLibrary, {**document.data, "name": name, "architecture": architecture}
    )
    return library
