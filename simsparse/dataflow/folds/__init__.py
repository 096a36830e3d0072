"""Schedules of a systolic array's folds with scratchpads and a DRAM interface."""
