# SPDX-License-Identifier: Apache-2.0
"""Batching: which requests the next step of a serving engine works on; one file per rule."""

from simsparse.policies.batching.base import BATCHINGS, Batching, BatchView, StepPlan, batching_of

__all__ = ["BATCHINGS", "Batching", "StepPlan", "BatchView", "batching_of"]
