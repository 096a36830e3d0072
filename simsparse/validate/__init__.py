# SPDX-License-Identifier: Apache-2.0
"""Validation: errors of the models against measurements, and cases of published results, with asserted tolerances."""

from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity, run_cases
from simsparse.validate.comparison import Prediction, SectionReport, ValidationReport
from simsparse.validate.measurement import Measurement, read_measurements
from simsparse.validate.run import (
    REFERENCES,
    TOLERANCES,
    reference_folder,
    validate,
    validate_file,
    validate_references,
)

__all__ = [
    "CASES", "REFERENCES", "TOLERANCES", "CaseReport", "Measurement", "CasePoint", "Prediction", "SectionReport",
    "Sensitivity", "CaseTable", "ValidationReport", "read_measurements", "reference_folder", "run_cases", "validate",
    "validate_file", "validate_references",
]  # fmt: skip
