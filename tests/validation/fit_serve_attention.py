# SPDX-License-Identifier: Apache-2.0
"""Seconds that a program of the serving loop's decode attention takes for 64 keys, however few others run.

Usage: python tests/validation/fit_serve_attention.py LOGS. ``LOGS``: JSON lines, one run each: ``load``, ``prefill``,
``prompt``, ``output``, and ``steps`` as [start, seconds, "d", sequences, bucket, keys of all] or [.., "p", tokens,
request]. Decode steps of eager runs at loads 0.3 and 0.6 are fitted by one number; the others judge it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import simsparse as ss
from simsparse.config.hardware import system_of
from simsparse.lowering.machine import machine_of
from simsparse.lowering.stacks import stack_of
from simsparse.policies.batching import batching_of
from simsparse.serving.build import Build, CacheOptions
from simsparse.serving.costs import StepShape
from simsparse.serving.engine import Engine
from simsparse.validate.serve_model import LoopServer
from simsparse.validate.serve_rows import ENGINE

ISOLATED_S = 75e-6
"""Host seconds within a step."""


def decode_steps(run: dict[str, Any]) -> Iterator[tuple[float, int, int, int, int]]:
    """Measured seconds, sequences, bucket, keys of all and of the longest sequence, of each decode step."""
    keys: dict[int, int] = {}
    made: dict[int, int] = {}
    for _, seconds, what, count, other, *total in run["steps"]:
        if what == "p":
            keys[other], made[other] = run["prompt"][other], 1
        else:
            yield seconds, count, other, total[0], max(keys.values()) + 1
            for request in list(keys):
                keys[request], made[request] = keys[request] + 1, made[request] + 1
        for request in [each for each in keys if made[each] >= run["output"][each]]:
            del keys[request]


def columns(run: dict[str, Any], build: Build) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Measured seconds; those beside attention, of its bytes, and of its tiles of the longest sequence (in units)."""
    own, engine, device = build.engine.attention, build.engine, build.costs
    rows = []
    for seconds, count, bucket, total, longest in decode_steps(run):
        work = device.of(StepShape((), count, total / count, count, 1, bucket))
        listed = build.model.attention_ops(count, 1, 1)
        start = own.longest_seconds(listed, bucket, 1e-9) - 8 * own.pieces.time_s
        tiles = (own.longest_seconds(listed, bucket, longest) - start) / own.pieces.time_s
        by_bytes = device.attention(StepShape((), count, total / count, count), total / count).seconds - start
        rows.append((seconds, work.seconds - by_bytes + engine.kernel_s * work.kernels + ISOLATED_S, by_bytes, tiles))
    return tuple(np.array(rows).T)  # type: ignore[return-value]


def errors(found: tuple[np.ndarray, ...], tile_s: float) -> np.ndarray:
    """Relative errors of the steps of a run."""
    measured, others, by_bytes, tiles = found
    return (others + np.maximum(by_bytes, tiles * tile_s)) / measured - 1


def main(path: str) -> None:
    """Fit, and print errors by run."""
    runs = [json.loads(line) for line in Path(path).read_text().splitlines()]
    system = system_of(ss.load_hardware("gpu/h200-sxm5-141gb"))
    build = Build(machine_of(system), LoopServer(8), batching_of("prefill_first"), Engine.named(ENGINE),
                  stack_of("fused+graph"), CacheOptions())  # fmt: skip
    found = [columns(run, build) for run in runs]
    fitted = [run["prefill"] == "eager" and run["load"] < 0.7 for run in runs]
    chosen = [each for each, own in zip(found, fitted, strict=True) if own]
    grid = np.arange(0.2, 3, 0.01) * 1e-6
    best = min(grid, key=lambda each: sum(float((errors(one, each) ** 2).sum()) for one in chosen))
    print(f"{best * 1e6:.2f} us for {build.engine.attention.pieces.keys} keys")
    for run, one, own in zip(runs, found, fitted, strict=True):
        before, after = errors(one, 0.0), errors(one, best)
        print(f"{run['lengths']:9} {run['load']} {run['prefill']:6} mean {before.mean():+.1%} -> {after.mean():+.1%}, "
              f"absolute {abs(before).mean():.1%} -> {abs(after).mean():.1%}{' [fit]' if own else ''}")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
