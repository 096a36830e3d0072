# SPDX-License-Identifier: Apache-2.0
"""What every site is: which of the experts that a device does not hold the host computes itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.part import PolicyPart
from simsparse.registry import Registry


@dataclass(frozen=True)
class AbsentExperts:
    """Experts that an op reads and its device does not hold, those with most tokens first, and what they would take.

    ``tokens``: of each expert. ``copy_s``: seconds to copy a number of them, one after another; ``host_s``: seconds of
    the host for some of them, activations over the link included; ``device_s``: of the device for all of the op's
    experts but some. All are those of level 0, with nothing else on the machine.
    """

    experts: Sequence[Weight]
    tokens: Sequence[int]
    copy_s: Callable[[Sequence[Weight]], float]
    host_s: Callable[[Sequence[Weight]], float]
    device_s: Callable[[Sequence[Weight]], float]


@dataclass(frozen=True)
class Site(PolicyPart):
    """Decides where experts run that are not there. A subclass registers with ``@SITES.register(name)``.

    What the host computes is not copied, and does not come into a cache.
    """

    @abstractmethod
    def on_host(self, work: AbsentExperts) -> Sequence[Weight]:
        """Those of ``work.experts`` that the host computes."""


SITES: Registry[type[Site]] = Registry("site", package="simsparse.policies.site")
