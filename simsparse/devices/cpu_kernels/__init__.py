# SPDX-License-Identifier: Apache-2.0
"""Kernels of libraries for CPUs, one file each: what their inner loops execute for a product."""
