# SPDX-License-Identifier: Apache-2.0
"""Measure a GPU: the JSON lines that ``simsparse validate`` compares the models with.

Stands alone on torch, so that this one folder can be copied to a machine that has nothing else:
``python -m probe --out gpu.jsonl [--sections gemm_dense,attn] [--limit-s 500]``.

Every row carries ``section``, the operation's shape and the median seconds ``s``. GEMMs and
attention are replays of a CUDA graph of at least 24 calls that rotate over distinct buffers, so
that weights and keys come from HBM and not from the L2 cache.
"""

from .run import SECTIONS, measure

__all__ = ["SECTIONS", "measure"]
