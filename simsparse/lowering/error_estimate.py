# SPDX-License-Identifier: Apache-2.0
"""How far a run's operator times may be off, from the measured errors of the kernel models that it used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simsparse.config.accuracy import errors_of
from simsparse.core import NO_ESTIMATE, ErrorEstimate, OpCost
from simsparse.core.varying_arrays import added
from simsparse.lowering.command_graph import CostKey
from simsparse.lowering.records import Records


def measured_errors(costs: Mapping[CostKey, OpCost]) -> dict[CostKey, float]:
    """The mean error of the class of kernels of each cost, where it was measured."""
    labels = {key: cost.validated for key, cost in costs.items() if cost.validated}
    found = zip(labels, errors_of(labels.values()) if labels else (), strict=True)
    return {key: error for key, error in found if error is not None}


def error_estimate(records: Records, errors: Mapping[CostKey, float], op_seconds: Sequence[float]) -> ErrorEstimate:
    """The mean of ``errors``, at least one, weighted by ``op_seconds``, the time of each op."""
    by_place = [*(errors.get(key) for key in records.graph.runs), None]
    found = zip(op_seconds, map(by_place.__getitem__, records.graph.op_places), strict=True)
    known = [(seconds, error) for seconds, error in found if error is not None]
    checked, off = added([seconds for seconds, _ in known]), added([seconds * error for seconds, error in known])
    return ErrorEstimate(off / checked, checked / added(op_seconds)) if checked else NO_ESTIMATE
