# SPDX-License-Identifier: Apache-2.0
"""Mechanisms of other tools, rebuilt to take differences apart."""
