# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that time small models in plain torch: traced here, launched as PyTorch does."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache

from simsparse._simulate import simulate
from simsparse.config.hardware import System, system_of
from simsparse.config.quantity import Part
from simsparse.core import Trace
from simsparse.errors import SimsparseError
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement


def predict_blocks(part: Part, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of a pass of each row's model; in place of one that can't be made, why not."""
    if importlib.util.find_spec("torch") is None:
        return ["needs torch, to trace the model"] * len(rows)
    system = system_of(part)
    return [_predicted(system, row) for row in rows]


def _predicted(system: System, row: Measurement) -> Prediction | str:
    from simsparse.models.blocks import DTYPES, SIZES

    name, dtype = row.text("block"), row.text("dtype")
    if name not in SIZES or dtype not in DTYPES:
        return f"block {name} of {dtype}"
    stack = "eager+graph" if row.text("mode") == "graph" else "eager"
    sizes = tuple((size, row.whole(size)) for size in ("layers", *SIZES[name]))
    try:
        trace = traced_block(name, dtype, sizes)
        found = simulate(trace, system, level=0, stack=stack, keep="summary").latency_s
    except (SimsparseError, RuntimeError, ValueError) as error:
        return str(error)
    return Prediction(row, row.number("s"), found)


@cache
def traced_block(name: str, dtype: str, sizes: tuple[tuple[str, int], ...]) -> Trace:
    """The trace of a pass of a model of simsparse.models.blocks, on the meta device. Raises TraceError."""
    import torch

    from simsparse.models.blocks import inputs, model
    from simsparse.trace import trace_model

    d = {"block": name, "dtype": dtype, **dict(sizes)}
    with torch.no_grad():
        found: Trace = trace_model(model(d, "meta", dict(sizes)["layers"]), (inputs(d, "meta"),))
    return found
