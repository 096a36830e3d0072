"""Cycle cores of sparse engines, one file an engine."""
