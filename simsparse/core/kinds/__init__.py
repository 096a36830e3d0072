# SPDX-License-Identifier: Apache-2.0
"""Op kinds, one file per kind: dims, counts, bytes and the factory. Every module registers one in KINDS."""
