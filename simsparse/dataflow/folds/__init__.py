# SPDX-License-Identifier: Apache-2.0
"""Schedules of a systolic array's folds with scratchpads and a DRAM interface."""
