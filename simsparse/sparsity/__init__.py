# SPDX-License-Identifier: Apache-2.0
"""Sparsity: how an operand's zeros are arranged, draws of their places, and storage formats."""

from simsparse.sparsity.patterns.dense import DENSE
from simsparse.sparsity.statement import PATTERNS, USUAL, Factor, Sparsity

__all__ = ["DENSE", "PATTERNS", "USUAL", "Factor", "Sparsity"]
