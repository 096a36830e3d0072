"""Mechanisms of other tools, rebuilt to take differences apart."""
