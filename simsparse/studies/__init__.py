# SPDX-License-Identifier: Apache-2.0
"""Studies: published systems beside what the models say, each claim with its deviation and what moves it."""

from simsparse.studies.outcome import ClaimOutcome, Outcome, State, StudyOutcome
from simsparse.studies.run import run_cases, run_studies

__all__ = ["ClaimOutcome", "Outcome", "State", "StudyOutcome", "run_cases", "run_studies"]
