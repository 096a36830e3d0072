"""Schemas of the part kinds, one file a kind."""
