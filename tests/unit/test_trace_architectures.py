# SPDX-License-Identifier: Apache-2.0
"""A trace understands nearly all of what models do, over many architectures and the zoo."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from architectures import TORCHVISION, architectures, has_torchvision, measured, phases, share  # noqa: E402

from simsparse.models import extract  # noqa: E402
from simsparse.models.by_name import MODELS  # noqa: E402

MOST = 0.005
"""Of bytes and of FLOPs."""


def test_there_are_sixty_architectures() -> None:
    assert len(set(architectures())) == len(architectures()) >= 60


@pytest.mark.parametrize(("name", "phase"), [(name, phase) for name in architectures() for phase in phases(name)])
def test_little_of_an_architecture_is_not_understood(name: str, phase: str) -> None:
    found = measured(name, phase)
    assert found.bytes < MOST and found.flops < MOST, found.names


@pytest.mark.parametrize("phase", ["forward", "train"])
@pytest.mark.parametrize("name", TORCHVISION)
def test_little_of_an_architecture_of_torchvision_is_not_understood(name: str, phase: str) -> None:
    if not has_torchvision():
        pytest.skip("torchvision is not installed")
    found = measured(f"torchvision/{name}", phase)
    assert found.bytes < MOST and found.flops < MOST, found.names


LAYERS = 6
"""Decoder layers that are traced: more than the first ones that differ in any model of the zoo."""


@pytest.mark.parametrize("name", sorted(MODELS))
def test_little_of_a_model_of_the_zoo_is_not_understood(name: str) -> None:
    phases = MODELS[name].task.phases
    decoder = "prefill" in phases
    layers = LAYERS if decoder else None
    for trace in (
        extract(name, "prefill" if decoder else "forward", batch=1, seq=64, layers=layers),
        *([extract(name, "decode", batch=2, kv_len=64, layers=layers)] if "decode" in phases else []),
    ):
        found = share(trace)
        assert found.bytes < MOST and found.flops < MOST, found.names
