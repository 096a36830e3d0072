# SPDX-License-Identifier: Apache-2.0
"""Residencies: which weights rest in host memory and which of them devices keep; one file per rule."""

from simsparse.policies.residency.base import RESIDENCIES, Cache, Residency, Room

__all__ = ["RESIDENCIES", "Cache", "Residency", "Room"]
