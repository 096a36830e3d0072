# SPDX-License-Identifier: Apache-2.0
"""Cycle cores of blocks with ready/valid streams: twins of the modules of rtl/."""
