# SPDX-License-Identifier: Apache-2.0
"""Sweeps: expand axes, sample points, execute them in local processes, store every one."""

from simsparse.sweep.run import run_sweep

__all__ = ["run_sweep"]
