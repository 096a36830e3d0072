"""Validation: errors of the models against measurements, by section, with asserted tolerances."""

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
    "REFERENCES", "TOLERANCES", "Measurement", "Prediction", "SectionReport", "ValidationReport", "read_measurements",
    "reference_folder", "validate", "validate_file", "validate_references",
]  # fmt: skip
