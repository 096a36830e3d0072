# SPDX-License-Identifier: Apache-2.0
"""All blocks at all their parameter sets, against model and cycle core."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from simsparse.rtl.block import BLOCKS, RtlBlock
from simsparse.rtl.compare import Verdict, compare, missed, predict, random_stream
from simsparse.rtl.run import run

TILES = 10_000
MOST_TILES = 50_000
"""Tiles after which a bin that is still missed is reported instead of waited for."""
_GROWTH = 1.5


@dataclass(frozen=True)
class Verification:
    """One parameter set's verdict."""

    block: RtlBlock
    tiles: int
    verdict: Verdict


def blocks(modules: Iterable[str] = ()) -> list[RtlBlock]:
    """All parameter sets of ``modules``, or of all of them. Raises SpecError on an unknown module."""
    return [block for module in modules or BLOCKS for block in BLOCKS.get(module)]


def narrowest() -> list[RtlBlock]:
    """Of every module the parameter set whose ports have the fewest bits."""
    return [min(BLOCKS.get(module), key=_port_bits) for module in BLOCKS]


def _port_bits(block: RtlBlock) -> int:
    return sum(field.width for field in (*block.inputs, *block.outputs))


def verify_block(block: RtlBlock, tiles: int = TILES, seed: int = 0, complete: bool = True) -> Verification:
    """Random tiles through ``block`` until ``tiles`` results have come out, each compared with the model.

    When ``complete``, more tiles are drawn until every bin is met, MOST_TILES at most; what is missed then is in the
    verdict beside the differences. The stream depends on ``tiles``, the seed and the block's name alone. Raises
    SimulationError when the simulator can't be built.
    """
    key = zlib.crc32(f"{block.name} {seed}".encode())
    drawn, most = tiles, max(tiles, MOST_TILES) if complete else tiles
    while True:
        stream = random_stream(block, drawn, key)
        predicted = predict(block, stream)
        if predicted.given.size < tiles:
            drawn = math.ceil(1.03 * drawn * tiles / max(1, predicted.given.size))
            continue
        if complete and drawn < most and missed(block, stream, predicted):
            drawn = math.ceil(_GROWTH * drawn)
            continue
        observed = run(block, stream, predicted.given.size, predicted.longest, predicted.side_outputs)
        verdict = compare(block, stream, observed, predicted)
        if verdict.differences or not verdict.missed or drawn >= most:
            return Verification(block, drawn, verdict)
        drawn = math.ceil(_GROWTH * drawn)


def verify(
    chosen: list[RtlBlock], tiles: int = TILES, seed: int = 0, jobs: int = 1,
    progress: Callable[[int, int, int], None] | None = None,
) -> list[Verification]:  # fmt: skip
    """verify_block() of each of ``chosen``, ``jobs`` at a time; ``progress`` gets (done, total, failed)."""
    results: list[Verification] = []
    with ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda block: verify_block(block, tiles, seed), chosen):
            results.append(result)
            if progress is not None:
                progress(len(results), len(chosen), sum(not each.verdict.passed for each in results))
    return results
