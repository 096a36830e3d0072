# SPDX-License-Identifier: Apache-2.0
"""Attention kernels in a kernel library: what they cost, in numbers that carry over to cards of the architecture."""

from __future__ import annotations

from simsparse.config.quantity import Frozen, Ratio, Seconds, Share


class GpuSdpaFewKeys(Frozen):
    """One query token per sequence, few keys (simsparse.devices.gpu_attention): a thread block to an SM.

    ``launch``: as of GpuSdpaDecode; ``step_D``: cycles of a tile of 64 keys and values, by padded head dim; ``away``:
    as of GpuSdpaDecode, per tile of 64.
    """

    launch: Seconds
    step_64: Ratio
    step_128: Ratio
    step_256: Ratio
    away: Ratio


class GpuSdpaDecode(Frozen):
    """One query token per sequence, as cuDNN runs it (simsparse.devices.gpu_attention.decode_seconds).

    ``launch``: kernel alone, start of the pipeline included, ``per_dim`` more per padded head dim; ``combine``:
    the second kernel where the keys are split, ``part`` its seconds per part. ``step_D``: cycles of a tile of
    128 keys and values in one thread block, by padded head dim; ``away``: cycles more at head dim 128 where they come
    from memory, not from L2; ``resident``: share of the L2 that keeps a cache used in a loop. ``beside``: how much
    longer, as a share, where one more block runs on the SM. ``again``: elements per key that blocks read twice with
    head dims over 128. ``turnover``: seconds for a thread block to follow another. ``start``: seconds from the start of
    a thread block to that of the next, while they fill the card. ``ragged``: what is added where 128 does not divide
    the keys. ``memory``: share of the HBM peak. ``few``: the kernel of few keys.
    """

    launch: Seconds
    start: Seconds
    ragged: Seconds
    per_dim: Seconds
    combine: Seconds
    part: Seconds
    step_64: Ratio
    step_128: Ratio
    step_256: Ratio
    away: Ratio
    resident: Ratio
    beside: Ratio
    again: Ratio
    turnover: Seconds
    memory: Share
    few: GpuSdpaFewKeys


class GpuSdpaPrefill(Frozen):
    """Many query tokens, as cuDNN runs them (simsparse.devices.gpu_attention.prefill_seconds).

    ``launch``: kernel alone, ``per_dim`` more per padded head dim. ``softmax``: cycles of a tile of 128 x 128 scores
    beside its products, ``wide`` more per head dim over 128; ``tensor``: rate of an SM's products over its share of
    the peak; ``sustained``: share of the peak that the power limit lets all SMs hold. ``row``: cycles before and after
    a row of tiles, ``row_dim`` more per padded head dim, ``diagonal`` more where it is causal, ``partial`` more where
    128 does not divide the queries, ``away`` more at head dim 128 where the row comes from memory, not from L2.
    ``imbalance``: share of the longest row by which the last SM finishes late. ``memory``: share of the HBM peak.
    ``mask``: instructions that add an element of a mask to a score.
    """

    launch: Seconds
    per_dim: Seconds
    softmax: Ratio
    wide: Ratio
    tensor: Ratio
    sustained: Share
    row: Ratio
    row_dim: Ratio
    diagonal: Ratio
    partial: Ratio
    away: Ratio
    imbalance: Ratio
    memory: Share
    mask: Ratio


class GpuPagedTiles(Frozen):
    """Cycles of a thread block by head dim and type of the cache; linear in the head dim between and beyond.

    ``unit_D``: start and end of a unit of work, with head dim D; ``step_D``: a tile of 128 keys and values;
    ``window_D``: what masking a window costs a unit more.
    """

    unit_64: Ratio
    unit_128: Ratio
    step_64: Ratio
    step_128: Ratio
    window_64: Ratio
    window_128: Ratio


class GpuPagedDecode(Frozen):
    """One query token per sequence on a paged cache (simsparse.devices.gpu_attention_paged.decode_seconds).

    ``launch``: fixed seconds, ``per_dim`` more per head dim, ``per_sequence`` per sequence; ``combine``: the
    second kernel where keys are split. ``half``, ``byte``: cycles with a 16-bit and an 8-bit cache; ``head``:
    cycles of a step per query head of a group at head dim 128; ``queue``: cycles of a unit per sequence that
    the scheduler looks through, ``crowd``: ratio of unit times beyond 992 sequences, which it no longer
    sorts. ``memory``: share of the HBM peak; ``resident``: share of the L2 that keeps a cache used in a loop.
    """

    launch: Seconds
    per_dim: Seconds
    per_sequence: Seconds
    combine: Seconds
    half: GpuPagedTiles
    byte: GpuPagedTiles
    head: Ratio
    queue: Ratio
    crowd: Ratio
    memory: Share
    resident: Ratio


class GpuPagedPrefill(Frozen):
    """Many query tokens on a paged cache (simsparse.devices.gpu_attention_paged.prefill_seconds).

    ``launch``, ``per_sequence``: fixed seconds, and per sequence. ``half``: cycles; ``packed``: cycles of a unit
    more where the queries of several heads are packed into one tile; ``window_step``: ratio of a step under a
    window. ``imbalance``: share of the longest unit by which the last SM finishes late. ``query``, ``key``:
    seconds in units of a byte's at the HBM peak that a byte of queries and outputs, and of keys and values,
    adds.
    """

    launch: Seconds
    per_sequence: Seconds
    half: GpuPagedTiles
    packed: Ratio
    window_step: Ratio
    imbalance: Ratio
    query: Ratio
    key: Ratio


class GpuFlexAttention(Frozen):
    """PyTorch's FlexAttention with a mask of blocks (simsparse.devices.gpu_attention_sparse.flex_seconds).

    ``launch``: kernel alone; ``unit_B``: cycles of an SM to start and end a row of blocks of B x B scores,
    ``step_B``: cycles of one block, at head dim 128.
    """

    launch: Seconds
    unit_64: Ratio
    unit_128: Ratio
    step_64: Ratio
    step_128: Ratio


class GpuSdpa(Frozen):
    """The framework's scaled dot-product attention."""

    decode: GpuSdpaDecode
    prefill: GpuSdpaPrefill


class GpuPaged(Frozen):
    """A serving engine's attention on a paged cache; fixed parts of ``decode`` hold for prefill of one token."""

    decode: GpuPagedDecode
    prefill: GpuPagedPrefill
