# SPDX-License-Identifier: Apache-2.0
"""Experiments: one simulation as YAML, checked before anything runs. Sweeps are here by name too."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.keys import Text
from simsparse.config.run_spec import RunSpec, WorkloadSpec, load_document, with_values
from simsparse.config.sweep import Sweep, SweepSpec, load_sweep
from simsparse.config.validated import validate_document
from simsparse.config.yaml import Document

__all__ = ["Experiment", "Sweep", "SweepSpec", "load_experiment", "load_sweep"]


class Experiment(RunSpec):
    """One simulation: a workload on a system under a policy."""

    workload: WorkloadSpec
    system: Text


def load_experiment(name: str, changes: Mapping[str, str] | None = None) -> tuple[Experiment, Document]:
    """The experiment in the YAML file ``name``, with the values of ``changes`` by key in place of its own.

    Raises SpecError that names file, line and key.
    """
    document = with_values(load_document(name), changes or {})
    experiment: Experiment = validate_document(document, Experiment, document.data)
    return experiment, document
