# SPDX-License-Identifier: Apache-2.0
"""Collectives as copies between devices: one file per algorithm."""

from simsparse.lowering.collectives.base import ALGORITHMS, Algorithm, Send
from simsparse.lowering.collectives.expand import CollectiveCopy, collective_fs, copies_of, ranks_of, results_of

__all__ = ["ALGORITHMS", "Algorithm", "CollectiveCopy", "Send", "collective_fs", "copies_of", "ranks_of", "results_of"]
