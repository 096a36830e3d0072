# SPDX-License-Identifier: Apache-2.0
"""Serving: requests over time on replicas of a model, step by step."""

from simsparse.serving.result import Distribution, Served

__all__ = ["Distribution", "Served"]
