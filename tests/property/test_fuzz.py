# SPDX-License-Identifier: Apache-2.0
"""Mutated YAML files, trace files and command lines end in a result or in a typed error that names the place."""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.config.hardware import load_hardware, load_system
from simsparse.errors import SimsparseError, TraceError
from simsparse.paths import data_root
from simsparse.trace.file import load_trace
from tests.conftest import draws
from tests.property.mutate import Mutation, mutated, mutations

pytestmark = pytest.mark.fuzz

FUZZ = settings()
EDITS = st.lists(mutations(), min_size=1, max_size=4)
PARTS = sorted((data_root() / "hw_models").glob("*/*.yaml"))
SPECS = sorted((data_root() / "configs").glob("*/*.yaml"))
TRACES = sorted((data_root() / "traces").glob("*.trace"))


def _load_spec(path: str) -> Any:
    from simsparse.config.experiment import load_experiment, load_sweep

    return load_sweep(path) if "axes" in Path(path).read_text(errors="replace") else load_experiment(path)


def _ends_well(load: Callable[[str], Any], path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        load(str(path))
    except SimsparseError as error:
        assert error.file or error.key, f"no place in {error!r}"
        assert "\n" not in str(error)


@settings(FUZZ, max_examples=draws(300))
@given(source=st.sampled_from(PARTS), edits=EDITS)
def test_hardware_files(source: Path, edits: list[Mutation], tmp_path_factory: pytest.TempPathFactory) -> None:
    load = load_system if source.parent.name == "systems" else load_hardware
    _ends_well(load, tmp_path_factory.getbasetemp() / "part.yaml", mutated(source.read_bytes(), edits))


@settings(FUZZ, max_examples=draws(300))
@given(source=st.sampled_from(SPECS), edits=EDITS)
def test_experiment_and_sweep_files(
    source: Path, edits: list[Mutation], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _ends_well(_load_spec, tmp_path_factory.getbasetemp() / "spec.yaml", mutated(source.read_bytes(), edits))


@settings(FUZZ, max_examples=draws(200))
@given(source=st.sampled_from(TRACES), edits=EDITS, packed=st.booleans())
def test_trace_files(
    source: Path, edits: list[Mutation], packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = source.read_bytes()
    plain = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    data = mutated(gzip.compress(plain, 1), edits) if packed else mutated(plain, edits)
    path = tmp_path_factory.getbasetemp() / "fuzz.trace"
    path.write_bytes(data)
    try:
        load_trace(path)
    except TraceError as error:
        assert error.file == str(path)
        assert "\n" not in str(error)


ARGUMENTS = [
    ["hw", "list"], ["hw", "show", "gpu/h100-sxm5-80gb"], ["hw", "show"], ["estimate", "linear", "m=8", "n=64", "k=64"],
    ["run", "configs/experiments/nothing.yaml"], ["sweep", "configs/sweeps/nothing.yaml"], ["report", "."], ["models"],
    ["schema", "experiment"], ["validate", "--data"], ["trace", "--show"], ["trace", "--show", "cut.trace"],
    ["run", "cut.yaml", "--out", "new"], ["sweep", "cut.yaml", "--out", "new"], ["report", "cut.yaml"],
    ["validate", "--data", "cut.trace", "--hw", "gpu/t4"],
]  # fmt: skip
WORDS = st.sampled_from(
    ["--out", "--json", "--hw", "--jobs", "--level", "-1", "0", "x", "", "nowhere.yaml", "--help", "--", "m=0", "k=x",
     "gpu/h100", "gpu/t4", "systems/h100-pcie5", "--seed", "1e9", "--policy", "pregated", "é", "a" * 3000]
)  # fmt: skip


@settings(FUZZ, max_examples=draws(60))
@given(command=st.sampled_from(ARGUMENTS), extra=st.lists(WORDS, max_size=4), edits=EDITS)
def test_command_lines(
    command: list[str], extra: list[str], edits: list[Mutation], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from simsparse.cli import main

    folder = tmp_path_factory.mktemp("cli")
    (folder / "cut.yaml").write_bytes(mutated(SPECS[0].read_bytes()[:400], edits))
    (folder / "cut.trace").write_bytes(mutated(TRACES[0].read_bytes(), edits)[:2000])
    before = set(folder.rglob("*"))
    said = io.StringIO()
    quiet = redirect_stdout(io.StringIO())
    with contextlib.chdir(folder), redirect_stderr(said), quiet, pytest.raises(SystemExit) as ended:
        main([*command, *extra])
    assert ended.value.code in (0, 1, 2)
    assert "Traceback" not in said.getvalue()
    if ended.value.code == 2:
        assert said.getvalue().startswith("error: ")
        assert set(folder.rglob("*")) == before
