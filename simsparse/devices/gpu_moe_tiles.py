# SPDX-License-Identifier: Apache-2.0
"""Tiles that kernel libraries pick for grouped GEMMs, by their own rules.

A tile is ``rows`` tokens by ``outputs`` by a step of ``depth`` along k. Rules are those of the libraries'
sources: vLLM 0.22 to 0.24 (fused_moe.py, get_default_config), SGLang 0.5.10 (fused_moe_triton_config.py,
get_default_config), OpenAI's triton_kernels (opt_flags of matmul_ogs: rows by the mean tokens of an expert,
256 outputs with Hopper's layout of MXFP4 scales, k split while the grid does not fill the card), PyTorch 2.11
(profiled kernels: small tiles up to 128 rows per expert in the mean). Left out: tables of measured tiles that
vLLM and SGLang ship for some layers on some cards; on those layers the rule's tile is a few per cent off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from simsparse.devices.gpu_card import Floats

WHOLE = 1e6
"""Row tiles that share weights where all of an expert's tiles run one after the other."""


@dataclass(frozen=True)
class TileQuestion:
    """What a rule looks at, one array element per layer: tokens, assignments per token, experts held here."""

    tokens: Floats
    top_k: Floats
    experts: Floats


@dataclass(frozen=True)
class ExpertTiles:
    """The tile of each layer: rows, outputs, depth, row tiles that share weights, warps, buffers along k.

    ``fills``: k is split while the grid does not fill the card.
    """

    rows: Floats
    outputs: Floats
    depth: Floats
    group: Floats
    warps: Floats
    stages: Floats
    fills: bool = False


def _steps(value: Floats, *steps: tuple[float, float], above: float) -> Floats:
    """The first step's result whose limit ``value`` does not exceed, else ``above``."""
    return np.select([value <= limit for limit, _ in steps], [result for _, result in steps], above).astype(np.float64)


def _vllm(asked: TileQuestion, eight_bit: bool = False) -> ExpertTiles:
    tokens = asked.tokens
    return ExpertTiles(
        rows=_steps(tokens, (32, 16), (96, 32), (512, 64), above=128),
        outputs=_steps(tokens, (64, 64), above=128),
        depth=np.full(len(tokens), 128.0) if eight_bit else _steps(tokens, (64, 128), above=64),
        group=np.where(np.floor(tokens / asked.experts) > 128, 16.0, 1.0),
        warps=_steps(tokens, (128, 4), above=8), stages=_steps(tokens, (32, 4), above=3),
    )  # fmt: skip


def _vllm_fp8(asked: TileQuestion) -> ExpertTiles:
    return _vllm(asked, eight_bit=True)


def _vllm_fp8_block(asked: TileQuestion) -> ExpertTiles:
    tokens = asked.tokens
    same = np.ones(len(tokens))
    return ExpertTiles(
        rows=_steps(tokens, (64, 16), above=64), outputs=128 * same, depth=128 * same,
        group=_steps(tokens, (16, 1), above=32), warps=4 * same, stages=3 * same,
    )  # fmt: skip


def _sglang(asked: TileQuestion) -> ExpertTiles:
    few = asked.tokens <= asked.experts
    return ExpertTiles(
        rows=np.where(few, 16.0, 64.0), outputs=np.where(few, 32.0, 64.0), depth=np.where(few, 64.0, 32.0),
        group=np.where(few, 1.0, 8.0), warps=np.full(len(few), 4.0), stages=np.full(len(few), 3.0),
    )  # fmt: skip


def _triton_kernels(asked: TileQuestion) -> ExpertTiles:
    mean = np.maximum(np.floor(asked.tokens * asked.top_k / asked.experts), 1.0)
    same = np.ones(len(mean))
    rows = np.clip(2.0 ** np.ceil(np.log2(mean)), 16.0, 128.0)
    return ExpertTiles(rows, 256 * same, 128 * same, 8 * same, 8 * same, 3 * same, fills=True)


def _cutlass(asked: TileQuestion) -> ExpertTiles:
    few = asked.tokens * asked.top_k <= 128 * asked.experts
    same = np.ones(len(few))
    return ExpertTiles(
        rows=np.where(few, 64.0, 128.0), outputs=np.where(few, 128.0, 256.0), depth=np.where(few, 128.0, 64.0),
        group=WHOLE * same, warps=8 * same, stages=4 * same,
    )  # fmt: skip


RULES: Mapping[str, Callable[[TileQuestion], ExpertTiles]] = {
    "vllm": _vllm, "vllm-fp8": _vllm_fp8, "vllm-fp8-block": _vllm_fp8_block, "sglang": _sglang,
    "triton-kernels": _triton_kernels, "cutlass": _cutlass,
}  # fmt: skip
