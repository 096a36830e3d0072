# SPDX-License-Identifier: Apache-2.0
"""Parameters of the GPU's GEMM model (simsparse.devices.gpu_gemm), fitted to measured GEMMs.

Rates are in bytes or cycles of the part's ``compute.clock`` and in shares of its peaks, so that they
carry over to a card of the same generation with other clocks, SM counts and bandwidths.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from pydantic import model_validator

from simsparse.config.quantity import Basis, Frozen, Ratio, Seconds


class GpuTensorGemm(Frozen):
    """Dense tensor-core kernels: the fastest of a list of tiles and splits of k.

    ``launch``: fixed seconds of a kernel replayed in a CUDA graph. ``overhead``: cycles that a thread
    block loses per k. ``tensor``: rate of one SM over its share of the peak (clocks above the
    datasheet's). ``sustained``: share of the peak that the power limit lets all SMs hold. ``port``:
    bytes a cycle that an SM reads from L2. ``memory``: share of the HBM peak. ``stream``: bytes a
    cycle that one SM draws from HBM. ``split_launch``: seconds of the kernel that adds up the parts
    of a split k. ``clustered``: share of the SMs that clusters of four or eight blocks can fill.
    ``spread``: how far from the fastest tile, relatively, the library's choice strays.
    All but ``sustained`` are null where the kernel library describes tiles of its own.
    """

    launch: Seconds | None = None
    overhead: Ratio | None = None
    tensor: Ratio | None = None
    sustained: Ratio
    port: Ratio | None = None
    memory: Ratio | None = None
    stream: Ratio | None = None
    split_launch: Seconds | None = None
    clustered: Ratio | None = None
    spread: Ratio | None = None


class GpuHalfGemm(GpuTensorGemm):
    """Dense kernels of 16-bit values. A library's tiles of all types read ``memory`` here, which is never null."""

    memory: Ratio


class GpuSparse24Gemm(Frozen):
    """The one cuSPARSELt kernel (tiles of 128 outputs x 256 tokens) that PyTorch's 2:4 path runs.

    ``launch``: fixed seconds of a kernel replayed in a CUDA graph. ``tensor``: rate of one SM over
    its share of the 2:4 peak. ``sustained``: share of that peak that the power limit lets all SMs
    hold. ``cache``: bytes a cycle and SM that L2 delivers when all SMs read. ``sharing``: extra
    reads of x where few blocks share them, as a share divided by the n tiles. ``concurrency``:
    exponent with which L2 time grows with busy SMs. ``padding_T``: cycles per k that a full
    machine loses on a tile with T valid tokens of 256. ``padding_concurrency``,
    ``padding_share``: exponents of the busy SMs and of the share of tiles that are padded.
    ``memory``: share of the HBM peak. ``pad_launch``: kernels that pad m to a multiple of 8;
    ``pad_memory``: their share of the HBM peak. ``schedule_launch``: reset of the tile counter.
    ``split_launch``, ``reduce_launch``: extra of a k split in two, and in more.
    """

    launch: Seconds
    tensor: Ratio
    sustained: Ratio
    cache: Ratio
    sharing: Ratio
    concurrency: Ratio
    padding_0: Ratio
    padding_64: Ratio
    padding_128: Ratio
    padding_192: Ratio
    padding_concurrency: Ratio
    padding_share: Ratio
    memory: Ratio
    pad_launch: Seconds
    pad_memory: Ratio
    schedule_launch: Seconds
    split_launch: Seconds
    reduce_launch: Seconds


class GpuVectorGemm(Frozen):
    """fp32 on CUDA cores.

    One token runs a matrix-vector kernel: ``vector_launch``, its fixed seconds, and ``stream``, its
    share of the HBM peak. More tokens run tiles: ``launch``, fixed seconds; ``step``, least seconds
    per k of a thread block; ``memory``, share of the HBM peak. All three are null where the library has tiles of
    its own. ``arithmetic``: share of the fp32 peak.
    """

    vector_launch: Seconds
    stream: Ratio
    launch: Seconds | None = None
    step: Seconds | None = None
    memory: Ratio | None = None
    arithmetic: Ratio


class GpuDerating(Frozen):
    """Measured time over modelled time on a coarse grid of m, n and k; interpolated between.

    Raises ValueError when ``factor`` has not the grid's shape or a grid does not rise.
    """

    m: tuple[float, ...]
    n: tuple[float, ...]
    k: tuple[float, ...]
    factor: tuple[tuple[tuple[float, ...], ...], ...]
    source: str | None
    basis: Basis
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> GpuDerating:
        for grid in (self.m, self.n, self.k):
            if len(grid) < 2 or grid[0] <= 0 or any(a >= b for a, b in pairwise(grid)):
                raise ValueError(f"{grid} is not a rising grid of at least two positive sizes")
        shape = (len(self.m), len(self.n), len(self.k))
        rows = [row for plane in self.factor for row in plane]
        if len(self.factor) != shape[0] or any(len(plane) != shape[1] for plane in self.factor) or any(
            len(row) != shape[2] for row in rows
        ):  # fmt: skip
            raise ValueError(f"factor must have the grid's shape {shape}")
        if not all(0.5 <= factor <= 2.0 for row in rows for factor in row):
            raise ValueError("a derating lies between 0.5 and 2")
        return self


class GpuGemm(Frozen):
    """The kernels by dtype, the 2:4 path, and what of it is left to measured derating."""

    half: GpuHalfGemm
    fp8: GpuTensorGemm
    int8: GpuTensorGemm
    vector: GpuVectorGemm
    sparse24: GpuSparse24Gemm | None = None
    sparse24_derating: GpuDerating | None = None

    def check(self, described: Collection[str]) -> None:
        """Raise ValueError unless exactly those numbers are null that kernels of a library replace.

        ``described``: sections all of whose products the library describes with tiled kernels of its own.
        """
        for section in SECTIONS:
            own = getattr(self, section)
            numbers = {name: getattr(own, name) for name in replaceable(type(own))}
            stated, lacking = ([name for name, number in numbers.items() if (number is None) == null]
                               for null in (False, True))  # fmt: skip
            if section in described and stated:
                raise ValueError(f"gemm.{section}: kernels.gemm describes all of these products, and nothing reads "
                                 f"{', '.join(stated)}; expected null")  # fmt: skip
            if section not in described and lacking:
                raise ValueError(f"gemm.{section}: kernels.gemm does not describe all of these products; expected "
                                 f"{', '.join(lacking)}")  # fmt: skip


SECTIONS = ("half", "fp8", "int8", "vector")
"""Sections whose products a library may describe with tiled kernels of its own."""


def replaceable(section: type[Frozen]) -> list[str]:
    """Numbers of a section that nothing reads where a library describes all of its products."""
    return [name for name, field in section.model_fields.items() if not field.is_required()]
