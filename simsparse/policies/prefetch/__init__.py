# SPDX-License-Identifier: Apache-2.0
"""Prefetches: which weights are copied ahead; one file per rule."""

from simsparse.policies.prefetch.base import PREFETCHES, Prefetch

__all__ = ["PREFETCHES", "Prefetch"]
