# SPDX-License-Identifier: Apache-2.0
"""Masks of attention, one file per pattern: which keys queries read, and what finding them takes."""
