# SPDX-License-Identifier: Apache-2.0
"""Published results that simulations are held to, one file a case."""
