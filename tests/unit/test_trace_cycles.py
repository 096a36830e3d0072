# SPDX-License-Identifier: Apache-2.0
"""Level 2 of whole traces: real masks where they were kept, reasons where a product can't be walked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import simsparse as ss
from simsparse.cli import main
from simsparse.core import Trace
from simsparse.trace.masks import MaskStore, load_masks, save_with_masks

PART = "accel/eyeriss-v2-pe"


def masked(folder: Path) -> Path:
    """A trace of one linear op whose masks keep less than its sparsity says."""
    store = MaskStore()
    weight, inputs = np.zeros((8, 16), np.bool_), np.ones((4, 16), np.bool_)
    weight[:, 3] = True
    stats = {"weight_mask": store.add(weight), "input_mask": store.add(inputs)}
    op = ss.ops.linear(m=4, n=8, k=16, dtype="int8", weight_sparsity="2:4", name="fc").with_(stats=stats)
    grouped = ss.ops.conv2d(1, 4, 4, 8, 8, 3, 3, groups=4, dtype="int8", name="dw")
    trace = ss.TraceBuilder("small").add(op).add(grouped).build()
    return save_with_masks(trace, store, folder / "small.trace")


def test_real_masks_are_walked(tmp_path: Path) -> None:
    path = masked(tmp_path)
    trace = ss.load_trace(path)
    real = ss.trace_cycles(trace, PART, load_masks(trace, tmp_path))
    drawn = ss.trace_cycles(trace, PART)
    assert not isinstance(real["fc"], str) and not isinstance(drawn["fc"], str)
    assert (real["fc"].cycles, drawn["fc"].cycles) == (4 * 8, 4 * 8 * 8)
    assert real["dw"] == "a convolution with groups is no single product"


def test_equal_ops_without_masks_are_walked_once() -> None:
    op = ss.ops.linear(m=4, n=8, k=16, dtype="int8", weight_sparsity="2:4", name="a")
    trace: Trace = ss.TraceBuilder("two").add(op).add(op.with_(name="b")).build()
    found = ss.trace_cycles(trace, PART)
    assert found["a"] is found["b"]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_the_command_prints_a_table_and_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = masked(tmp_path)
    assert run("cycles", path, "--hw", PART, "--json") == 0
    assert json.loads(capsys.readouterr().out)["fc"]["cycles"] == 32
    assert run("cycles", path, "--hw", PART) == 0
    said = capsys.readouterr()
    assert "real masks" in said.out and "1 of 2 products not walked" in said.err
    assert run("cycles", path, "--hw", PART, "--dtype", "int7") == 2
