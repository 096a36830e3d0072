# SPDX-License-Identifier: Apache-2.0
"""Causal masks that are aligned at the first key, as those of torch's and ONNX's attention."""

from __future__ import annotations


def first_aligned(q_len: int, kv_len: int) -> list[tuple[int, int, bool]]:
    """Queries, keys and causality of attention ops, whose own masks are aligned at the last key.

    Query i sees keys 0 to i: keys behind the last query are seen by none, queries behind the last key see all.
    """
    if q_len <= kv_len:
        return [(q_len, q_len, True)]
    return [(kv_len, kv_len, True), (q_len - kv_len, kv_len, False)]
