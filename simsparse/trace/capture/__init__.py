"""Capture of traces from torch models, at the level of aten."""
