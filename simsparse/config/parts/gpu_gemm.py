"""Parameters of the GPU's GEMM model (simsparse.devices.gpu_gemm): efficiencies, cycles and times."""

from __future__ import annotations

from simsparse.config.quantity import Frozen, Ratio, Seconds


class GpuGemm(Frozen):
    """How far GEMM kernels stay behind the machine's peaks; fitted to measured GEMMs.

    ``launch``: fixed seconds of a kernel replayed in a CUDA graph. ``memory``: share of the HBM peak.
    ``compute``: share of the tensor peak.
    """

    launch: Seconds
    memory: Ratio
    compute: Ratio
