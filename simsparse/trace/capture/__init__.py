# SPDX-License-Identifier: Apache-2.0
"""Capture of traces from torch models, at the level of aten."""
