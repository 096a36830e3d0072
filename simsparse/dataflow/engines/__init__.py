# SPDX-License-Identifier: Apache-2.0
"""Cycle cores of sparse engines, one file an engine."""
