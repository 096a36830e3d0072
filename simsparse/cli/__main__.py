# SPDX-License-Identifier: Apache-2.0
"""``python -m simsparse.cli``, the same as ``simsparse``."""

from simsparse.cli import main

main()
