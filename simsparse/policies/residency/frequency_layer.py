# SPDX-License-Identifier: Apache-2.0
"""Experts that are read often and soon stay."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES
from simsparse.policies.residency.expert_cache import ExpertCache, Held, Rank


@RESIDENCIES.register("frequency_layer")
@dataclass(frozen=True)
class FrequencyLayer(ExpertCache):
    """The expert goes whose share of its layer's reads, times the nearness of its layer, is least.

    The share is that of all reads so far, those before the expert came among them. Nearness falls from 1 for the layer
    that runs next to 1/layers for the one that has just run. Source: the cache of MoE-Infinity, which weighs the ratio
    of activations by the layer (Xue et al., arXiv:2401.14361); its weights fall with depth from the first layer on,
    since it looks at whole sequences. Here they are counted from the layer that runs, which derives from it.
    """

    name = "frequency_layer"

    def rank(self, held: Held, view: View) -> Rank:
        layers, here = max(1, len(view.space.layers)), view.space.layers.get(view.layer, -1)
        behind = (view.space.layers.get(held.weight.layer, 0) - here - 1) % layers
        nearness = 1 - behind / layers
        reads, all_reads = view.reads_of(held.weight)
        return ((reads + 1) / (all_reads + held.weight.of) * nearness, held.last_used)
