"""Experiments: one simulation as YAML, checked before anything runs. Sweeps are here by name too."""

from __future__ import annotations

from simsparse.config.hardware import validate_document
from simsparse.config.setting import Setting, Text, WorkloadSpec, load_document
from simsparse.config.sweep import Sweep, SweepSpec, load_sweep
from simsparse.config.yaml import Document

__all__ = ["Experiment", "Sweep", "SweepSpec", "load_experiment", "load_sweep"]


class Experiment(Setting):
    """One simulation: a workload on a system under a policy."""

    workload: WorkloadSpec
    system: Text


def load_experiment(name: str) -> tuple[Experiment, Document]:
    """The experiment in the YAML file ``name``. Raises SpecError that names file, line and key."""
    document = load_document(name)
    experiment: Experiment = validate_document(document, Experiment, document.data)
    return experiment, document
