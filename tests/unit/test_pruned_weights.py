# SPDX-License-Identifier: Apache-2.0
"""Pruning of torch models, and the pattern that weights show."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from simsparse.models import prune_nm  # noqa: E402
from simsparse.models.prune import weight_facts  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (1, 8)])
def test_pruning_keeps_the_largest_of_each_group_and_is_measured(n: int, m: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 16), nn.Conv2d(16, 8, 3))
    dense = [parameter.detach().clone() for parameter in (model[0].weight, model[1].weight)]
    assert prune_nm(model, n, m) == ["0", "1"]
    for layer, before in zip(model, dense, strict=True):
        rows = before.movedim(1, -1).reshape(-1, m).abs()
        kept = layer.weight.detach().movedim(1, -1).reshape(-1, m)
        smallest_kept = torch.where(kept != 0, kept.abs(), torch.inf).amin(1)
        largest_cut = torch.where(kept == 0, rows, 0).amax(1)
        assert ((kept != 0).sum(1) == n).all()
        assert (smallest_kept >= largest_cut).all()
        sparsity, facts = weight_facts(layer.weight.detach())
        assert str(sparsity) == f"{n}:{m}"
        assert facts["density"] == n / m


def test_pruning_agrees_with_torchs_own_sparsifier() -> None:
    from torch.ao.pruning import WeightNormSparsifier

    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(64, 16, bias=False))
    theirs = copy.deepcopy(ours)
    prune_nm(ours, 2, 4)
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(theirs, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    sparsifier.squash_mask()
    assert torch.equal(ours[0].weight, theirs[0].weight)


@pytest.mark.parametrize(
    ("weight", "pattern"),
    [
        (torch.ones(4, 32), "dense"),
        (torch.eye(32), "1:32"),
        (torch.cat([torch.eye(32) + 1.0, torch.zeros(288, 32)]), "block32:0.1"),
        (
            torch.randperm(40960, generator=torch.Generator().manual_seed(0)).lt(4096).reshape(512, 80) * 1.0,
            "unstructured:0.1",
        ),
    ],
)
def test_the_pattern_of_real_weights_is_what_they_show(weight: Any, pattern: str) -> None:
    assert str(weight_facts(weight)[0]) == pattern
