# SPDX-License-Identifier: Apache-2.0
"""Parameters of a library's tiled GEMM kernels (simsparse.devices.gpu_tile_kernels), fitted to measured GEMMs."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from simsparse.config.quantity import Basis, Frozen, Ratio, Seconds, Share

TileFamily = tuple[Literal["tokens", "outputs"], int, int, int, tuple[int, ...], float, float, float, float]
"""Free side of the tile, size of the fixed side, most and granule of the free one, splits of k, efficiency,
preference, and how the preference grows with k and with blocks."""


MATRIX_VECTOR_TOKENS = 4
"""fp32 GEMMs of at most so many tokens run kernels for narrow matrices instead of tiles."""


class GpuTiles(Frozen):
    """Families of tiles, one per row: ``free side, fixed size, most, granule, splits, efficiency, preference, by_k,
    by_blocks``.

    A tile has a fixed size along one side of the output; along the other it is as long as it must be to cut
    that side evenly into tiles of at most ``most``, rounded up to ``granule``. ``efficiency``: share of the
    tensor rate of the kernel; ``preference``: how much more likely the library takes it than its own
    estimate says, as a logarithm; ``by_k``, ``by_blocks``: what it grows by when k doubles from 2,048, and when the
    blocks double from one per SM.
    """

    rows: tuple[TileFamily, ...]
    source: str | None
    basis: Basis
    note: str = ""

    @model_validator(mode="after")
    def _possible(self) -> GpuTiles:
        """Raises ValueError for a tile without an element."""
        for side, fixed, most, granule, splits, efficiency, *_ in self.rows:
            if min(fixed, most, granule, *splits) < 1 or efficiency <= 0:
                raise ValueError(f"[{side}, {fixed}, {most}, {granule}, {list(splits)}, {efficiency}] is no tile")
        if not self.rows:
            raise ValueError("a kernel needs at least one tile")
        return self


class GpuTileView(Frozen):
    """By what factor the library's own estimate, by which it takes a tile, differs from the time.

    ``overhead``, ``port``, ``fill``, ``stream``, ``split``: factors of the kernel's parameters. ``missing``:
    share of the operands that it takes to lie in memory. ``memory``: share of the HBM peak it counts on.
    """

    overhead: Ratio
    port: Ratio
    fill: Ratio
    stream: Ratio
    split: Ratio
    missing: Ratio
    memory: Ratio


class GpuTileKernel(Frozen):
    """One kind of tiled kernel; cycles are those of the card's clock.

    ``launch``: fixed seconds. ``cold_launch``: what they grow by when operands lie in memory. ``overhead``,
    ``cold_overhead``: cycles per k beside the products. ``fill``: cycles per tile before and after its k
    loop; ``epilogue``: cycles per element of a tile. ``tensor``: rate of one SM over its share of the peak.
    ``port``: bytes per cycle that an SM reads from L2; ``multicast``: share of the longer side's operand
    that a block of a cluster reads itself. ``stream``: bytes per cycle that one SM draws from memory;
    ``l2_stream``: factor of it for operands in L2; ``l2``: bytes per cycle and SM that the L2 delivers.
    ``split_launch``, ``cold_split``: seconds of the reduction after a split k. ``reread``: share of x read
    again from L2 per further column of tiles. ``write``: bytes written to memory per byte of output.
    ``thrash``: how often operands that do not fit in L2 are read again, over what square waves of tiles
    would read. ``resident``, ``sharpness``: share of the L2 that buffers in a loop may fill until half of
    them is lost, and how fast; ``resident_output`` and ``resident_operands`` the same for outputs and for
    the operands of one GEMM. ``padded``: share of the padding that draws power; ``byte_flops``: flop that
    draw as much as a byte from memory. ``spread``: how far from the best of its estimate the library
    strays. ``crowding``: share of a block's time that it would save if it ran alone on the card. ``ragged``: cycles
    per k more where rows are no multiples of 128 bytes. ``step``: elements of k that a block takes at once, a
    multiple of which it walks. ``held``: elements of output tiles that an SM works on at once, in several blocks where
    tiles are smaller; without it, one block after another.
    """

    launch: Seconds
    cold_launch: Seconds
    overhead: Ratio
    cold_overhead: Ratio
    fill: Ratio
    epilogue: Ratio
    tensor: Ratio
    port: Ratio
    multicast: Ratio
    stream: Ratio
    l2_stream: Ratio
    l2: Ratio
    split_launch: Seconds
    cold_split: Seconds
    reread: Ratio
    write: Ratio
    thrash: Ratio
    resident: Ratio
    sharpness: Ratio
    resident_output: Ratio
    resident_operands: Ratio
    padded: Ratio
    byte_flops: Ratio
    spread: Ratio
    crowding: Ratio
    ragged: Ratio
    step: Ratio
    held: Ratio | None = None
    view: GpuTileView
    tiles: GpuTiles


class GpuSparse24Kernel(GpuTileKernel):
    """A tiled kernel of 2:4 weights; ``tensor`` is a share of the 2:4 peak.

    ``sustained``: share of the 2:4 peak that the power limit lets a card hold.
    """

    sustained: Ratio


class GpuVectorKernel(Frozen):
    """A kernel of few tokens whose blocks multiply rows of weights by all of them.

    ``most``: tokens up to which the library takes it; that of narrow weights, where it is faster than tiles.
    ``launch``: fixed seconds. ``block``: cycles per k of one thread block. ``issue``: cycles of an SM per k, output and
    token. ``memory``: share of the HBM peak at which weights are read. Seconds: simsparse.devices.gpu_vector_kernels.
    """

    most: Ratio
    launch: Seconds
    block: Ratio
    issue: Ratio
    memory: Share


class GpuTransferred(Frozen):
    """Kernels of a library on another architecture that serve GEMMs for which none was measured on this one.

    ``rate``: flop per cycle and multiprocessor of which ``tensor`` of those kernels is a share.
    """

    library: str
    architecture: str
    rate: Ratio


class GpuGemmKernels(Frozen):
    """A library's GEMM kernels by kind; a kind without one takes the part's own ``gemm`` section.

    ``half``: bf16 and fp16 whose rows are multiples of 16 bytes. ``unaligned``: whose rows are not, those of 16 bits by
    the bytes (4 or 2) that one load takes, others by type (``int8_outputs``: int8 with only n no multiple of 16);
    ``unaligned_one``: those of 16 bits and one token; ``transferred``: where theirs come from if none was
    measured. ``fp8``: one scale per tensor; ``fp8_row``: one per row; ``fp8_block``: one per 128 values of a row of x
    and per square of 128 of w. ``int8``: int8 inputs and weights. ``fp32``: CUDA cores, more than four tokens.
    ``tf32``: fp32 values on tensor cores; without it, the 16-bit kernels with values of four bytes. ``sparse24``: 2:4
    weights, by type.
    """

    half: GpuTileKernel | None = None
    unaligned: dict[Literal["bytes4", "bytes2", "tf32", "int8", "int8_outputs"], GpuTileKernel] | None = None
    unaligned_one: GpuVectorKernel | None = None
    transferred: GpuTransferred | None = None
    fp8: GpuTileKernel | None = None
    fp8_row: GpuTileKernel | None = None
    fp8_block: GpuTileKernel | None = None
    int8: GpuTileKernel | None = None
    fp32: GpuTileKernel | None = None
    tf32: GpuTileKernel | None = None
    sparse24: dict[Literal["fp8", "int8"], GpuSparse24Kernel] | None = None

    def described(self, narrow_tokens: int) -> set[str]:
        """Sections of a part's ``gemm`` all of whose products run kernels of this library; ``narrow_tokens``: most
        tokens of an fp32 product that runs the part's kernels for narrow matrices."""
        own = {"half": [self.half], "fp8": [self.fp8, self.fp8_row, self.fp8_block], "int8": [self.int8],
               "vector": [self.fp32 if narrow_tokens >= MATRIX_VECTOR_TOKENS else None]}  # fmt: skip
        return {section for section, kernels in own.items() if all(kernel is not None for kernel in kernels)}
