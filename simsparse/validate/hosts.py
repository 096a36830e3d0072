# SPDX-License-Identifier: Apache-2.0
"""Models of a host processor alone, for measured rows of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simsparse.config.parts.cpu import CpuPart
from simsparse.validate.comparison import Prediction
from simsparse.validate.host_kernels import SECTION as KERNELS
from simsparse.validate.host_kernels import predict_kernels_of_host
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables.cpu_sparse import SECTION as SPARSE
from simsparse.validate.tables.cpu_sparse import predict_sparse_layers, right_signs

HostPredictor = Callable[[CpuPart, Sequence[Measurement]], list[Prediction | str]]
PREDICTORS: Mapping[str, HostPredictor] = {SPARSE: predict_sparse_layers, KERNELS: predict_kernels_of_host}
"""What predicts the rows of a section on a host."""
FACTS: Mapping[str, Callable[[Sequence[Prediction]], Mapping[str, float]]] = {SPARSE: right_signs}
"""Shares that a section reports beside its errors."""


@dataclass(frozen=True)
class HostModels:
    """The models of one host."""

    part: CpuPart

    @property
    def name(self) -> str:
        """What was measured."""
        return self.part.name

    def predict(self, section: str, rows: Sequence[Measurement]) -> list[Prediction | str]:
        """Predictions in the order of ``rows``; in place of one that can't be made, the reason."""
        predict = PREDICTORS.get(section)
        return predict(self.part, rows) if predict else [f"{self.part.name} is a cpu"] * len(rows)
