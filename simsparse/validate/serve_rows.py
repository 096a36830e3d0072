# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows of a measured serving loop: single steps, and runs of requests over time.

A run is a row of several sections: mean TTFT and TPOT up to a load of 0.6, both beyond it, and the p99 of TTFT. Its
requests are drawn anew from the row's seed, by the rule of the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simsparse._serve import serve
from simsparse.config.hardware import System, system_of
from simsparse.config.quantity import Part
from simsparse.errors import SimsparseError
from simsparse.lowering.machine import Machine, machine_of
from simsparse.lowering.stacks import stack_of
from simsparse.policies.batching import batching_of
from simsparse.serving.build import Build, CacheOptions
from simsparse.serving.clock import PowerClock
from simsparse.serving.costs import StepShape
from simsparse.serving.engine import Engine
from simsparse.serving.result import Served
from simsparse.sources.requests import Requests
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.serve_model import LoopServer

ENGINE = "torch-loop/2.11"
LOADED = 0.6
"""Load beyond which queues amplify what steps are off."""
SHORTEST, LONGEST, SLOTS_TOKENS = 16, 2200, 3072
"""Tokens of a prompt, and of a slot, in the rule of the measurements."""
STACKS: Mapping[str, str] = {"graph": "fused+graph", "eager": "fused"}


def serving_sections(row: Measurement) -> tuple[str, ...]:
    """The sections of a row of ``serve``."""
    if row.text("op") != "serve_run":
        return ("serve_steps",)
    if row.number("load") > LOADED:
        return ("serve_loaded_ttft", "serve_loaded_tpot", "serve_p99")
    return ("serve_ttft", "serve_tpot", "serve_p99")


def predict_serving(part: Part, section: str, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of steps, or latencies of runs, as ``section`` says."""
    system = system_of(part)
    return [_predicted(system, section, row) for row in rows]


def _predicted(system: System, section: str, row: Measurement) -> Prediction | str:
    try:
        if section == "serve_steps":
            return Prediction(row, row.number("s"), _step_seconds(system, row))
        key, of = _MEASURES[section]
        return Prediction(row, row.number(key), of(_served(system, row)))
    except SimsparseError as error:
        if error.file is not None:
            raise
        return str(error)


_MEASURES: Mapping[str, tuple[str, Callable[[Served], float]]] = {
    "serve_ttft": ("ttft_mean", lambda served: served.ttft.mean),
    "serve_tpot": ("tpot_mean", lambda served: served.tpot.mean),
    "serve_p99": ("ttft_p99", lambda served: served.ttft.p99),
    "serve_loaded_ttft": ("ttft_mean", lambda served: served.ttft.mean),
    "serve_loaded_tpot": ("tpot_mean", lambda served: served.tpot.mean),
}


def _step_seconds(system: System, row: Measurement) -> float:
    """A step by itself on a card that repeats it a few times."""
    engine = Engine.named(ENGINE)
    build = Build(machine_of(system), _model(row.whole("layers")), batching_of("prefill_first"), engine,
                  stack_of(STACKS[row.text("prefill")]), CacheOptions())  # fmt: skip
    if row.text("op") == "serve_prefill":
        shape = StepShape(((engine.padded_prompt(row.whole("tokens")), 0),), 0, 0.0, 1)
    else:
        batch = row.whole("batch")
        context = row.number("context")
        shape = StepShape((), batch, context, batch, 1, row.whole("bucket"), context)
    work = build.costs.of(shape)
    if engine.replays(shape.decoding, len(shape.chunks)):
        work = work._replace(host=0.0)
    clock = PowerClock(engine.kernel_s, build.device.power_budget)
    return clock.spend(work, engine.step_s, 0.0)[0]


def _served(system: System, row: Measurement) -> Served:
    drawn = DrawnRun(row.whole("seed"), row.whole("requests"), row.number("rate"), row.number("mean_in"),
                  row.number("mean_out"))  # fmt: skip
    with row.placed():
        return _run(machine_of(system), row.whole("layers"), STACKS[row.text("prefill")], row.whole("slots"), drawn)


@lru_cache(maxsize=64)
def _run(machine: Machine, layers: int, stack: str, slots: int, drawn: DrawnRun) -> Served:
    """A run, which serves several sections."""
    policy = {"kind": "prefill_first", "max_seqs": slots, "prompts": 1}
    return serve(drawn.drawn(), machine.system, _model(layers), policy, engine=ENGINE, stack=stack)


_model = lru_cache(maxsize=4)(LoopServer)


class DrawnRun(NamedTuple):
    """How the requests of a run are drawn: exponential gaps, lognormal prompts, exponential outputs."""

    seed: int
    requests: int
    rate: float
    mean_in: float
    mean_out: float

    def drawn(self) -> Requests:
        """The same requests as in the measurement."""
        rng = np.random.default_rng(self.seed)
        times = np.cumsum(rng.exponential(1 / self.rate, self.requests))
        prompts = np.rint(rng.lognormal(np.log(self.mean_in) - 0.32, 0.8, self.requests)).clip(SHORTEST, LONGEST)
        outputs = np.rint(rng.exponential(self.mean_out, self.requests)).clip(2, SLOTS_TOKENS - LONGEST - 1)
        return Requests.of(times, prompts, outputs, name=f"seed {self.seed}")
