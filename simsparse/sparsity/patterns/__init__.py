# SPDX-License-Identifier: Apache-2.0
"""Sparsity patterns: one file per pattern, each registers itself in ``simsparse.sparsity.statement.PATTERNS``."""
