# SPDX-License-Identifier: Apache-2.0
"""A trace understands nearly all of what models do, over many architectures and the zoo."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from architectures import architectures, measured, share  # noqa: E402

from simsparse.models import extract  # noqa: E402
from simsparse.models.by_name import MODELS  # noqa: E402

MOST = 0.005
"""Of bytes and of FLOPs."""


def test_there_are_sixty_architectures() -> None:
    assert len(set(architectures())) == len(architectures()) >= 60


@pytest.mark.parametrize("name", architectures())
def test_little_of_an_architecture_is_not_understood(name: str) -> None:
    found = measured(name)
    assert found.bytes < MOST and found.flops < MOST, found.names


@pytest.mark.parametrize("name", sorted(MODELS))
def test_little_of_a_model_of_the_zoo_is_not_understood(name: str) -> None:
    phase = "prefill" if "prefill" in MODELS[name].task.phases else "forward"
    found = share(extract(name, phase, batch=1, seq=64))
    assert found.bytes < MOST and found.flops < MOST, found.names
