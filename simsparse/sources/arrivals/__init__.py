# SPDX-License-Identifier: Apache-2.0
"""Arrivals: when requests come; one file per process."""

from simsparse.sources.arrivals.base import ARRIVALS, Arrivals, arrivals_of

__all__ = ["ARRIVALS", "Arrivals", "arrivals_of"]
