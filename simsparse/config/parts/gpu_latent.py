# SPDX-License-Identifier: Apache-2.0
"""Kernels of latent attention in a kernel library: on a whole cache, on selected tokens, and the index that selects."""

from __future__ import annotations

from simsparse.config.quantity import Frozen, Ratio, Seconds, Share


class GpuLatentKernel(Frozen):
    """Attention on cached latents, 64 query rows to a unit of work (simsparse.devices.gpu_latent).

    ``launch``: the kernel and the small ones round it which no op of a layer stands for (casts, reshapes, writes of the
    cache); ``row``: seconds per query row; ``step``: cycles of 64 keys; ``memory``: share of the HBM peak. ``unit``:
    cycles to start and end a unit, None where all units have as many steps; ``combine``: a second kernel where the keys
    of a sequence are split, None where they never are.
    """

    launch: Seconds
    row: Seconds
    step: Ratio
    memory: Share
    unit: Ratio | None = None
    combine: Seconds | None = None


class GpuKeyIndex(Frozen):
    """Scores of queries against all cached keys, and the choice of the best (simsparse.devices.gpu_latent).

    ``launch``: the kernels and the small ones round them; ``select``: seconds more where more keys are cached than
    are chosen; ``memory``: share of the HBM peak; ``tensor``: share of the tensor
    peak.
    """

    launch: Seconds
    select: Seconds
    memory: Share
    tensor: Share


class GpuLatent(Frozen):
    """Latent attention of a serving engine, by bytes of a cached value (``half``, ``byte``).

    ``whole``: one query per sequence on all cached tokens; ``selected``: one on selected tokens; ``prompt``: the
    queries of a prompt on selected tokens. With 8-bit caches and fewer than ``prompt_heads`` heads prompts run the
    kernel of ``selected_byte``. ``around``: seconds of the small kernels round a prompt's attention on whole caches,
    ``around_token`` more per token; ``host``: least seconds of a layer whose prompts select, as the host launches its
    kernels one by one.
    """

    whole_half: GpuLatentKernel
    whole_byte: GpuLatentKernel
    selected_half: GpuLatentKernel
    selected_byte: GpuLatentKernel
    prompt: GpuLatentKernel
    prompt_heads: Ratio
    around: Seconds
    around_token: Seconds
    host: Seconds
    index: GpuKeyIndex
