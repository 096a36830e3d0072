# SPDX-License-Identifier: Apache-2.0
"""``python -m probe``."""

from .run import main

main()
