# SPDX-License-Identifier: Apache-2.0
"""The table of keys: what it says reaches experiments, sweeps, the command line, the store and reports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from spec_files import write

import simsparse
from simsparse.config.axes import Choices
from simsparse.config.experiment import Experiment, load_experiment, load_sweep
from simsparse.config.keys import KEYS, Shown, label_of, names_shown
from simsparse.config.schema import experiment_schema
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.store import Reader
from simsparse.sweep import run_sweep
from simsparse.sweep.check import LOOKUPS

HEAD = "name: test\nworkload: {trace: t.trace}\nsystem: cpu/h100-host\nlevel: 0\n"


def test_every_key_is_a_field_an_axis_and_a_column(folder: Path) -> None:
    spec, _ = load_experiment(write(folder, HEAD))
    assert set(spec.values) == set(KEYS)
    properties = experiment_schema()["properties"]
    assert all(properties[name]["description"] == key.meaning for name, key in KEYS.items() if not key.required)
    for name in KEYS:
        (axis,) = load_sweep(write(folder, HEAD + f"axes: {{{name}: [{json.dumps(spec.values[name])}]}}\n")).axes
        assert isinstance(axis, Choices) and axis.name == name
    run_sweep(write(folder, HEAD + "axes: {seed: [0]}\n"), folder / "out")
    (row,) = Reader(folder / "out" / "sweep.sqlite").rows()
    assert set(row.values) == set(KEYS)


def test_defaults_can_be_read_and_only_keys_are_looked_up() -> None:
    assert set(LOOKUPS) <= set(KEYS)
    for key in KEYS.values():
        assert key.required or key.reader.validate_python(key.default) == key.default
    assert set(Experiment.model_fields) > {name for name, key in KEYS.items() if not key.required}


def test_labels_of_a_report() -> None:
    assert label_of("weight_sparsity") == "sparsity" and label_of("level") == "level"
    assert KEYS["level"].text("2") == "level 2" and KEYS["policy"].text("resident") == "resident"
    assert label_of("override.gpu0.memory.read_efficiency") == "gpu0.memory.read efficiency"
    shown = {place: names_shown(place) for place in Shown}
    assert shown[Shown.WORKLOAD] == ["workload.trace"] and shown[Shown.CONFIGURATION][:2] == ["system", "policy"]
    assert sum(map(len, shown.values())) == len(KEYS)


def test_values_of_an_experiment_can_be_replaced(folder: Path) -> None:
    path = write(folder, HEAD + "override: {cpu0.memory.bandwidth: 1 GB/s}\n")
    given = {"level": "1", "weight_sparsity": "2:4", "override.cpu0.memory.bandwidth": "2 GB/s",
             "policy_options.what": "all"}  # fmt: skip
    values = load_experiment(path, given)[0].values
    assert {name: str(values[name]) for name in given} == given and values["level"] == 1
    for name, text, message in (("levl", "1", "'levl' is not a key; did you mean level?"),
                                ("level", "x", "x.yaml:4: level: 'x'")):  # fmt: skip
        with pytest.raises(SpecError) as fault:
            load_experiment(path, {name: text})
        assert message in str(fault.value)


LINE = """    Key("repeats", Annotated[int, Field(ge=1)] | None, None, "runs one after another", "runs", argument=True),
"""
SWEEP = HEAD + "axes: {repeats: [1, 2]}\n"


def test_a_new_axis_is_one_line(folder: Path) -> None:
    """On a copy of the package: the line is the only difference, and a sweep over the new key runs."""
    package = Path(simsparse.__file__).parent
    shutil.copytree(package, folder / "simsparse", ignore=shutil.ignore_patterns("__pycache__", "_data"))
    for name in ("hw_models", "configs", "traces"):
        (folder / name).symlink_to(package.parent / name)
    keys = folder / "simsparse" / "config" / "keys.py"
    source = keys.read_text(encoding="utf-8")
    keys.write_text(source.replace("_TABLE = (\n", "_TABLE = (\n" + LINE), encoding="utf-8")
    code = (
        "from simsparse.sweep import run_sweep; frame = run_sweep('x.yaml', 'out');"
        "print(frame['repeats'].tolist(), frame['error'].tolist(), frame['key'].nunique())"
    )
    write(folder, SWEEP)
    environment = {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.stdout.split() == ["[1,", "2]", "['',", "'']", "2"], done.stderr


class TestWeightsOfATrace:
    """A trace whose weights are 2:4 already, on a card that runs 2:4."""

    def rows(self, tmp_path: Path, axis: str) -> list[tuple[str, str]]:
        trace = TraceBuilder("t").add(ops.linear(2048, 2048, 2048, weight_sparsity="2:4")).build()
        trace.save(tmp_path / "t.trace")
        head = HEAD.replace("cpu/h100-host", "gpu/h100-sxm5-80gb")
        run_sweep(write(tmp_path, f"{head}keep_ops: true\naxes: {axis}\n"), tmp_path / "out")
        store = Reader(tmp_path / "out" / "sweep.sqlite")
        return [(str(row.values["weight_sparsity"]), store.ops()[row.key][0].weight_sparsity) for row in store.rows()]

    def test_dense_means_dense_weights(self, tmp_path: Path) -> None:
        found = self.rows(tmp_path, '{weight_sparsity: [dense, "1:4", as traced]}')
        assert found == [("dense", "dense"), ("1:4", "1:4"), ("as traced", "2:4")]

    def test_weights_that_no_key_changes_are_called_as_traced(self, tmp_path: Path) -> None:
        assert self.rows(tmp_path, "{seed: [0]}") == [("as traced", "2:4")]
