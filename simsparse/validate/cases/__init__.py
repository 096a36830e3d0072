# SPDX-License-Identifier: Apache-2.0
"""Published results that simulations are compared with, one file per case."""
