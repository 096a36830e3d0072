# SPDX-License-Identifier: Apache-2.0
"""How far a run's operator times may be off, from the measured errors of the kernel models that it used."""

from __future__ import annotations

from collections.abc import Sequence

from simsparse.config.accuracy import error_of
from simsparse.core import ErrorEstimate
from simsparse.lowering.records import Records


def error_estimate(records: Records, op_seconds: Sequence[float]) -> ErrorEstimate:
    """The mean error of the classes of kernels that ran, weighted by ``op_seconds``, the time of each op."""
    errors = {key: error_of(cost.validated) for key, cost in records.costs.items()}
    by_task = records.per_task(errors, None)
    checked = off = total = 0.0
    for task, seconds in zip(records.graph.op_commands, op_seconds, strict=True):
        error = by_task[task]
        total += seconds
        if error is not None:
            checked += seconds
            off += seconds * error
    return ErrorEstimate(off / checked, checked / total) if checked else ErrorEstimate(None, 0.0)
