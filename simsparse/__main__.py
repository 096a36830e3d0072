# SPDX-License-Identifier: Apache-2.0
"""``python -m simsparse``, the same as ``simsparse``."""

from simsparse.cli import main

main()
