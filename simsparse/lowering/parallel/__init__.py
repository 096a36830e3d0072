# SPDX-License-Identifier: Apache-2.0
"""Parallel layouts applied to traces and systems: what one rank of each kind runs, and on what."""

from simsparse.lowering.parallel.rank_system import rank_system
from simsparse.lowering.parallel.rank_trace import rank_trace

__all__ = ["rank_system", "rank_trace"]
