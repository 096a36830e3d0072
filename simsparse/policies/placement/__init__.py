# SPDX-License-Identifier: Apache-2.0
"""Placements: which device runs each op; one file per rule."""

from simsparse.policies.placement.base import PLACEMENTS, Placer

__all__ = ["PLACEMENTS", "Placer"]
