# SPDX-License-Identifier: Apache-2.0
"""Schemas of the part kinds, one file a kind."""
