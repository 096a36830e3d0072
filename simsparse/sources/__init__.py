# SPDX-License-Identifier: Apache-2.0
"""Sources: what arrives when: one pass, or a sequence of steps."""

from simsparse.sources.base import Source
from simsparse.sources.one_pass import OnePass
from simsparse.sources.steps import Steps

__all__ = ["OnePass", "Source", "Steps"]
