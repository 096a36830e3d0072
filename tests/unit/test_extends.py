# SPDX-License-Identifier: Apache-2.0
"""Parts that extend another part."""

from __future__ import annotations

from pathlib import Path

import pytest

from simsparse.config.hardware import load_hardware
from simsparse.config.quantity import Basis
from simsparse.errors import SpecError

CARD = """kind: gpu
extends: gpu/h100-sxm5-80gb
description: A card with less of everything
memory:
  capacity: {value: 48 GB, source: null, basis: assumed, note: "an example"}
  bandwidth: {value: 1 TB/s, source: null, basis: assumed, note: "an example"}
"""


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_what_is_not_said_comes_from_the_other_part(tmp_path: Path) -> None:
    card, h100 = load_hardware(write(tmp_path, "card", CARD)), load_hardware("gpu/h100-sxm5-80gb")
    mine, theirs = dict(card.quantities()), dict(h100.quantities())
    assert mine["memory.bandwidth"].si == 1e12
    assert card.description == "A card with less of everything"
    assert {path for path in theirs if mine[path].si != theirs[path].si} == {"memory.capacity", "memory.bandwidth"}


def test_what_was_measured_on_the_other_part_is_assumed_here(tmp_path: Path) -> None:
    card, h100 = load_hardware(write(tmp_path, "card", CARD)), load_hardware("gpu/h100-sxm5-80gb")
    said = [pair for pair in h100.quantities() if not pair[0].startswith(("kernels.", "experts."))]  # of libraries
    measured = {path for path, quantity in said if quantity.basis is Basis.MEASURED}
    own = dict(card.quantities())
    assert measured
    assert {own[path].basis for path in measured} == {Basis.ASSUMED}
    assert own["launch.graph"].note == "as measured on gpu/h100-sxm5-80gb"


def test_an_edit_of_the_other_part_is_seen(tmp_path: Path) -> None:
    base = write(tmp_path, "base", CARD)
    card = write(tmp_path, "card", "kind: gpu\nextends: base.yaml\ndescription: same\n")
    assert load_hardware(card).memory.bandwidth.si == 1e12
    write(tmp_path, "base", CARD.replace("1 TB/s", "2 TB/s"))
    assert load_hardware(card).memory.bandwidth.si == 2e12
    assert Path(base).exists()


@pytest.mark.parametrize(
    "text, says",
    [
        ("kind: gpu\nextends: gpu/nothing\n", r"card\.yaml:2: extends: .*gpu/nothing"),
        ("kind: gpu\nextends: 7\n", r"card\.yaml:2: extends: 7 is not the name of a part"),
        ("kind: gpu\nextends: card.yaml\n", r"card\.yaml:2: extends: 'card\.yaml' extends, by way of others, this"),
        (CARD + "colour: red\n", r"card\.yaml:7: colour: unknown key"),
    ],
)
def test_a_fault_is_named_by_file_and_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        load_hardware(write(tmp_path, "card", text))
