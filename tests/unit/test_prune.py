# SPDX-License-Identifier: Apache-2.0
"""Pruning and Wanda's norms, against torch's own pruners and the definitions."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import prune as torch_prune  # noqa: E402

from simsparse.core import Sparsity  # noqa: E402
from simsparse.errors import TraceError  # noqa: E402
from simsparse.models.prune import nm_mask, pattern_mask, prune  # noqa: E402
from simsparse.models.wanda import input_norms  # noqa: E402
from simsparse.sparsity.formats.nm import NMIndex  # noqa: E402
from simsparse.trace.statistics.mask_facts import pattern_of  # noqa: E402
from simsparse.trace.statistics.sparsity_stats import mask_of, weight_from_rows, weight_rows  # noqa: E402

pytestmark = pytest.mark.torch


def model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 48, bias=False))


def sparsified(theirs: Any, **settings: Any) -> Any:
    """The weight after torch's WeightNormSparsifier."""
    from torch.ao.pruning import WeightNormSparsifier

    sparsifier = WeightNormSparsifier(**settings)
    sparsifier.prepare(theirs, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    sparsifier.squash_mask()
    return theirs[0].weight


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 4), (4, 8), (2, 8), (1, 16)])
def test_n_m_is_torchs_weight_norm_sparsifier(n: int, m: int) -> None:
    ours = model()
    theirs = sparsified(
        copy.deepcopy(ours), sparsity_level=1.0, sparse_block_shape=(1, m), zeros_per_block=m - n
    )  # fmt: skip
    assert prune(ours, f"{n}:{m}") == ["0"]
    assert torch.equal(ours[0].weight, theirs)


def test_blocks_are_torchs_weight_norm_sparsifier() -> None:
    ours = model()
    theirs = sparsified(copy.deepcopy(ours), sparsity_level=0.5, sparse_block_shape=(16, 16), zeros_per_block=256)
    prune(ours, "block16:0.5")
    assert torch.equal(ours[0].weight, theirs)


@pytest.mark.parametrize("density", [0.5, 0.25, 0.125])
def test_unstructured_is_torchs_l1_pruning(density: float) -> None:
    ours = model()
    theirs = copy.deepcopy(ours)
    torch_prune.l1_unstructured(theirs[0], "weight", amount=1 - density)
    prune(ours, f"unstructured:{density}")
    assert torch.equal(ours[0].weight, theirs[0].weight)


def test_blocks_that_the_edge_cuts_are_compared_by_what_they_hold() -> None:
    scores = torch.zeros(10, 10)
    scores[0, 0], scores[9, 9], scores[5, 5] = 3.0, 2.0, 1.0
    mask = pattern_mask(scores, Sparsity.parse("block8:0.5"))
    assert mask[:8, :8].all()
    assert mask[8:, 8:].all()
    assert not mask[:8, 8:].any()
    assert not mask[8:, :8].any()


@pytest.mark.parametrize(
    "layer", [nn.Linear(32, 8), nn.Conv2d(16, 8, 3), nn.Conv1d(8, 4, 5), nn.Conv2d(8, 8, 3, groups=2)]
)
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "2:8", "bank8:0.25", "unstructured:0.5", "block4:0.5"])
def test_every_pattern_holds_on_every_layer_and_leaves_the_kept_alone(layer: Any, pattern: str) -> None:
    torch.manual_seed(0)
    before = nn.Sequential(copy.deepcopy(layer))
    after = copy.deepcopy(before)
    rows = weight_rows(before[0].weight.detach())
    sparsity = Sparsity.parse(pattern)
    divides = rows.shape[1] % (sparsity.groups or (1, 1))[1] == 0
    assert prune(after, pattern) == (["0"] if divides else [])
    kept = weight_rows(after[0].weight.detach())
    assert torch.equal(kept[kept != 0], rows[kept != 0])
    if divides and not pattern.startswith("block"):
        assert int((kept != 0).sum()) == sparsity.kept(*rows.shape)


def test_rows_of_a_weight_run_tap_by_tap_with_channels_innermost() -> None:
    weight = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    rows = weight_rows(weight)
    assert rows[1].tolist() == [weight[1, c, i, j].item() for i in range(2) for j in range(2) for c in range(3)]
    assert torch.equal(weight_from_rows(rows, weight), weight)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Conv2d(4, 8, (3, 1), groups=4, padding=(1, 0)),
        nn.Conv2d(6, 4, 3, groups=2, dilation=2), nn.Conv2d(4, 4, 3, padding="same"),
    ],
)  # fmt: skip
def test_norms_of_a_convolution_are_those_of_its_im2col_columns(conv: Any) -> None:
    torch.manual_seed(0)
    batches = [torch.randn(2, conv.in_channels, 9, 9) for _ in range(2)]
    norms = input_norms(nn.Sequential(conv), batches)["0"]
    padding = 1 if conv.padding == "same" else conv.padding
    columns = torch.cat([
        functional.unfold(x, conv.kernel_size, conv.dilation, padding, conv.stride) for x in batches
    ])  # fmt: skip
    squares = columns.square().sum(dim=(0, 2)).reshape(conv.groups, -1, *conv.kernel_size)
    expected = weight_rows(squares).sqrt().repeat_interleave(conv.out_channels // conv.groups, dim=0)
    assert torch.allclose(norms.expand_as(expected), expected, rtol=1e-5)


def test_wanda_is_its_definition() -> None:
    """Within each output, the weights of largest |w| x norm of what they meet stay (equation 1)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    batches = [torch.randn(5, 16) * torch.linspace(0.1, 3, 16) for _ in range(3)]
    norms = input_norms(net, batches)
    weights = {path: net[int(path)].weight.detach().clone() for path in ("0", "2")}
    hidden = torch.relu(torch.cat(batches) @ weights["0"].T + net[0].bias)
    for path, met in (("0", torch.cat(batches)), ("2", hidden.detach())):
        assert torch.allclose(norms[path][0], met.square().sum(dim=0).sqrt(), rtol=1e-5)
    prune(net, "unstructured:0.5", "wanda", norms)
    for path, weight in weights.items():
        for row, kept in zip(weight.abs() * norms[path], net[int(path)].weight, strict=True):
            assert set(torch.nonzero(kept).flatten().tolist()) == set(row.topk(len(row) // 2).indices.tolist())


def test_wanda_keeps_a_small_weight_that_meets_large_inputs() -> None:
    net = nn.Sequential(nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0, 0.5, 0.1]]))
    prune(net, "2:4", "wanda", input_norms(net, [torch.tensor([[1.0, 0.1, 1.0, 20.0]])]))
    assert torch.nonzero(net[0].weight)[:, 1].tolist() == [0, 3]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: prune(model(), "2:4", "wands"), "did you mean wanda"),
        (lambda: prune(model(), "2:4", "wanda"), "wanda needs norms"),
        (lambda: prune(model(), "2:4", "wanda", {}), "0: wanda needs norms"),
    ],
)
def test_what_cannot_be_pruned_is_said(call: Any, says: str) -> None:
    with pytest.raises(TraceError) as error:
        call()
    assert says in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_2_4_packing_is_that_of_torchs_cutlass_conversion(dtype: Any) -> None:
    """Values and positions of kept weights, against the conversion for sparse tensor cores on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.sparse import _semi_structured_conversions as cutlass
    torch.manual_seed(0)
    dense = torch.randn(64, 128)
    dense = (dense * nm_mask(dense, 2, 4)).to(dtype)
    values, reordered = cutlass.sparse_semi_structured_from_dense_cutlass(dense)
    encoded = NMIndex(2, 4).encode(dense.float().numpy())
    assert np.array_equal(encoded.values.reshape(64, 64), values.float().numpy())
    places = cutlass._calculate_meta_reordering_scatter_offsets(64, reordered.shape[1], reordered.dtype, "cpu")
    words = torch.gather(reordered.flatten(), 0, places).reshape(64, -1).numpy().astype(np.int64) & 0xFFFF
    theirs = (words[..., None] >> (2 * np.arange(8))) & 3
    bits = np.unpackbits(encoded.metadata["nm_index"], bitorder="little", count=64 * 64 * 2)
    ours = bits.reshape(-1, 2) @ np.array([1, 2])
    assert np.array_equal(ours.reshape(64, 64), theirs.reshape(64, 64))
    assert torch.equal(cutlass.sparse_semi_structured_to_dense_cutlass(values, reordered), dense)


def test_conformity_is_what_the_cutlass_conversion_accepts() -> None:
    from torch.sparse import _semi_structured_conversions as cutlass

    torch.manual_seed(0)
    dense = torch.randn(64, 128)
    pruned = (dense * nm_mask(dense, 2, 4)).half()
    spoiled = pruned.clone()
    spoiled[5, 8:12] = 1.0
    for weight, conforms in ((pruned, True), (spoiled, False)):
        packed = cutlass.sparse_semi_structured_from_dense_cutlass(weight)
        assert torch.equal(cutlass.sparse_semi_structured_to_dense_cutlass(*packed), weight) is conforms
        assert (str(pattern_of(mask_of(weight), 16)) == "2:4") is conforms
