# SPDX-License-Identifier: Apache-2.0
"""Lengths of prompts and outputs in tokens; one file per distribution."""

from simsparse.sources.lengths.base import LENGTHS, Lengths, lengths_of

__all__ = ["LENGTHS", "Lengths", "lengths_of"]
