# SPDX-License-Identifier: Apache-2.0
"""Experiments and sweeps as YAML: what is read, and that every fault names its place before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from spec_files import write

from simsparse.config.axes import Choices
from simsparse.config.experiment import load_experiment, load_sweep
from simsparse.config.hardware import PARTS
from simsparse.config.ranges import Range
from simsparse.config.schema import SCHEMAS, experiment_schema, hardware_schema, sweep_schema
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.sweep import point, run_sweep
from simsparse.sweep.check import check_experiment, check_sweep

SYSTEM = "cpu/h100-host"
HEAD = f"name: test\nworkload: {{trace: t.trace}}\nsystem: {SYSTEM}\n"


def test_an_experiment_has_the_documented_defaults(folder: Path) -> None:
    experiment, _ = load_experiment(write(folder, HEAD))
    assert experiment.values == {
        "policy": "resident", "stack": "fused+graph", "steps": 1, "routing": "", "parallel": "",
        "seed": 0, "level": 1, "dtype": "as traced", "batch": 0, "weight_sparsity": "as traced",
        "weight_format": "usual", "attention_mask": "as traced", "active_channels": "as traced",
        "workload.trace": "t.trace", "system": SYSTEM,
    }  # fmt: skip
    assert experiment.exclude == ("lm_head", "router")


def test_a_run_has_every_name_resolved(folder: Path) -> None:
    text = HEAD + "weight_sparsity: 2:4\nseed: 3\nlevel: 0\noverride: {cpu0.memory.bandwidth: 100 GB/s}\n"
    run = check_experiment(*load_experiment(write(folder, text)))
    assert Path(run.trace.path) == (folder / "t.trace").resolve()
    assert [run.value(name) for name in ("weight_sparsity", "seed", "level")] == ["2:4", 3, 0]
    assert run.override == (("cpu0.memory.bandwidth", "100 GB/s"),)


def test_a_policy_is_composed_in_a_file(folder: Path) -> None:
    text = HEAD + "steps: 4\nrouting: zipf:1.0\npolicy: {residency: {kind: lru, experts: 8}, prefetch: none}\n"
    run = check_experiment(*load_experiment(write(folder, text)))
    assert run.value("policy") == "residency: lru(experts=8), prefetch: none"
    assert (run.value("steps"), run.value("routing")) == (4, "zipf:1.0")
    options = check_experiment(*load_experiment(write(folder, text + "policy_options: {residency.experts: 5}\n")))
    assert options.policy_options == (("residency.experts", 5),)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{residency: lur}", r"x\.yaml:\d+: policy: 'lur' is not a residency.*lru"),
        ("{residence: lru}", "'residence' is no part of a policy.*residency"),
        ("{residency: {kind: lru, expert: 8}}", "'expert' is no option of lru.*experts"),
        ("{residency: {kind: lru, experts: 0}}", "0 is not a positive whole number"),
        ("{residency: {experts: 8}}", "expected a kind, or a mapping with the key kind"),
        ("{prefetch: next_layer}", "next_layer copies weights ahead"),
    ],
)
def test_faults_of_a_composition_are_named(folder: Path, policy: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check_experiment(*load_experiment(write(folder, f"{HEAD}policy: {policy}\n")))


def test_the_key_covers_what_changes_the_answer(folder: Path) -> None:
    def key(text: str) -> str:
        return check_experiment(*load_experiment(write(folder, HEAD + text))).key

    base = key("")
    assert base == key("description: another text\n")
    changes = ("seed: 1", "level: 0", "weight_sparsity: 1:4", "exclude: []",
               "override: {cpu0.memory.bandwidth: 100 GB/s}")  # fmt: skip
    assert len({base, *map(key, changes)}) == len(changes) + 1
    TraceBuilder("t").add(ops.linear(8, 64, 128)).build().save(folder / "t.trace")
    assert key("") != base


def test_the_key_covers_the_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder, HEAD)
    before = check_experiment(*load_experiment(path)).key
    monkeypatch.setattr(point, "code_sha256", lambda: "other sources")
    assert check_experiment(*load_experiment(path)).key != before


FAULTS = [
    ("weight_sparsity: 2:3:4", ":4: weight_sparsity: '2:3:4' is not a sparsity; expected dense, N:M"),
    ("level: 3", ":4: level: 3 is not a level; allowed: 0, 1"),
    ("seed: -1", ":4: seed: -1: "),
    ("seed: true", ":4: seed: True: "),
    ("polcy: resident", ":4: polcy: unknown key; did you mean policy?"),
    ("policy: residnt", ":4: policy: 'residnt' is not a policy; did you mean resident?"),
    ("policy_options: {speed: 3}", ":4: policy_options.speed: 'speed' is no option of the policy resident"),
    ("override: {cpu1.memory.bandwidth: 1 GB/s}", ":4: override.cpu1.memory.bandwidth: 'cpu1' is not in"),
    ("override: {cpu0.memory.bandwith: 1 GB/s}", ":4: override.cpu0.memory.bandwith: cpu/h100-host has no value"),
    ("override: {cpu0.memory.bandwidth: 3 litres}", ":4: override.cpu0.memory.bandwidth: '3 litres' is not a quantity"),
    ("override: {cpu0.memory.bandwidth: [1]}", ":4: override.cpu0.memory.bandwidth: [1] is not a word or a number"),
]


@pytest.mark.parametrize(("line", "expected"), FAULTS, ids=[line.split(":")[0] for line, _ in FAULTS])
def test_a_fault_of_an_experiment_names_its_place(folder: Path, line: str, expected: str) -> None:
    path = write(folder, HEAD + line + "\n")
    with pytest.raises(SpecError) as fault:
        check_experiment(*load_experiment(path))
    assert str(fault.value).startswith(path + expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workload: {trace: t.trace}\nsystem: cpu/h100-host\n", "name: is missing"),
        (
            "name: a\nworkload: {trace: nope.trace}\nsystem: cpu/h100-host\n",
            ":2: workload.trace: 'nope.trace' is not a",
        ),
        ("name: a\nworkload: {trace: t.trace}\nsystem: cpu/h100-hst\n", ":3: system: 'cpu/h100-hst' is no part"),
        ("name: ../a\nworkload: {trace: t.trace}\nsystem: cpu/h100-host\n", ":1: name: '../a': "),
        ("- a\n", ":1: expected a mapping"),
    ],
)
def test_a_bad_head_names_its_place(folder: Path, text: str, expected: str) -> None:
    with pytest.raises(SpecError) as fault:
        check_experiment(*load_experiment(write(folder, text)))
    assert expected in str(fault.value)


def test_axes_are_values_mappings_and_ranges(folder: Path) -> None:
    text = HEAD + (
        "axes:\n"
        "  weight_sparsity: [dense, 2:4]\n"
        "  setup: [{label: a, seed: 1}, {policy: resident, seed: 2}]\n"
        "  override.cpu0.memory.bandwidth: {low: 50, high: 200, log: true, unit: GB/s}\n"
        "sample: {kind: sobol, points: 4}\n"
    )
    sparsity, setup, bandwidth = load_sweep(write(folder, text)).axes
    assert isinstance(sparsity, Choices) and sparsity.labels == ("dense", "2:4") and not sparsity.named
    assert isinstance(setup, Choices) and setup.labels == ("a", "resident 2") and setup.named
    assert isinstance(bandwidth, Range) and bandwidth.text(75.5) == "75.5 GB/s"


SWEEP_FAULTS = [
    ("axes:\n  weight_sparsity: [dense, 2:3:4]", ":5: axes.weight_sparsity[1]: '2:3:4' is not a sparsity; expected"),
    ("axes:\n  weight_sparsity: [dense, 0.5]", ":5: axes.weight_sparsity[1]: '0.5' is not a sparsity; expected"),
    ("axes:\n  weight_sparsity: [dense, dense]", ":5: axes.weight_sparsity[1]: 'dense' stands twice"),
    ("axes:\n  weight_sparsity: []", ":5: axes.weight_sparsity: []: expected a list of values or {low"),
    ("axes:\n  weight_sparsty: [dense]", ":5: axes.weight_sparsty: is not a key; did you mean weight_sparsity?"),
    ("axes:\n  system: [cpu/h100-host, cpu/nope]", ":5: axes.system[1]: 'cpu/nope' is no part"),
    ("axes:\n  policy: [resident, residnt]", ":5: axes.policy[1]: 'residnt' is not a policy; did you mean resident?"),
    ("axes:\n  workload.trace:\n  - t.trace\n  - u.trace", ":7: axes.workload.trace[1]: 'u.trace' is not a file"),
    ("axes:\n  level: [0, 3]", ":5: axes.level[1]: 3 is not a level; allowed: 0, 1, 2"),
    ("axes:\n  seed: [0, a]", ":5: axes.seed[1]: 'a': "),
    ("axes:\n  override.cpu0.memory.bandwidth: [1 GB/s, 1 GB]",
     ":5: axes.override.cpu0.memory.bandwidth[1]: '1 GB' is not a quantity in byte/second (in cpu/h100-host)"),
    ("axes:\n  override.cpu0.nope: [1 GB/s]", ":5: axes.override.cpu0.nope[0]: cpu/h100-host has no value 'nope'"),
    ("axes:\n  a: [{system: cpu/h100-host, polcy: x}]", ":5: axes.a[0].polcy: is not a key; did you mean policy?"),
    ("axes:\n  a: [{seed: 1}, {label: b}]", ":5: axes.a[1]: sets no key"),
    ("axes:\n  a: [{seed: 1}, 3]", ":5: axes.a[1]: 3: expected a mapping of keys"),
    ("axes:\n  a: [{seed: 1}]\n  seed: [2]", ":6: axes.seed: sets seed, which the axis a sets too"),
    ("axes:\n  seed: {low: 1, high: 2}", ":5: axes.seed: a range needs an override axis"),
    ("axes:\n  override.cpu0.memory.bandwidth: {low: 1, high: 2, unit: GB/s}", "a grid needs a list of values"),
    ("axes:\n  override.cpu0.memory.bandwidth: {low: 2, high: 1}\nsample: {kind: random, points: 2}",
     ":5: axes.override.cpu0.memory.bandwidth.high: 1 must be above low, 2"),
    ("axes:\n  override.cpu0.memory.bandwidth: {low: 1, high: 2, unit: GB}\nsample: {kind: random, points: 2}",
     ":5: axes.override.cpu0.memory.bandwidth.low: '1 GB' is not a quantity"),
    ("axes:\n  seed: [1]\nsample: {kind: grid, points: 4}", ":6: sample.points: a grid runs all its points"),
    ("axes:\n  seed: [1]\nsample: {kind: tpe}", ":6: sample: points is missing"),
    ("axes:\n  seed: [1, 2]\nsample: {kind: random, points: 4}", ":6: sample.points: 4 points of a grid of 2"),
    ("axes:\n  seed: [1]\nsample: {kind: genetic}", ":6: sample.kind: 'genetic': "),
    ("axes:\n  seed: [1]\nobjectives: [latency]", ":6: objectives[0]: 'latency' is no objective; did you mean"),
    ("axes:\n  seed: [1]\nskip: [{sed: 1}]", ":6: skip[0].sed: is neither an axis nor set by one; did you mean seed?"),
    ("axes:\n  seed: [1]\nskip: [{seed: 2}]", ":6: skip[0].seed: 2 is no value of it"),
    ("axes:\n  seed: [1]\nskip: [{seed: 1}]", ":6: skip: leaves no point"),
    ("axes: {}", ":4: axes: a sweep needs at least one axis"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "expected"), SWEEP_FAULTS)
def test_a_fault_of_a_sweep_is_found_before_anything_is_written(folder: Path, lines: str, expected: str) -> None:
    path = write(folder, HEAD + lines + "\n")
    with pytest.raises(SpecError) as fault:
        run_sweep(path, folder / "out")
    assert str(fault.value).startswith(path) and expected in str(fault.value)
    assert not (folder / "out").exists()


def test_workload_and_system_may_come_from_an_axis(folder: Path) -> None:
    axes = "axes:\n  case: [{workload.trace: t.trace, system: cpu/h100-host}]\n"
    names = check_sweep(load_sweep(write(folder, "name: a\n" + axes)))
    assert {name: each.name for name, each in names.systems.items()} == {SYSTEM: SYSTEM}
    with pytest.raises(SpecError, match="system is missing: give it at the top or at every item of one axis"):
        load_sweep(write(folder, "name: a\naxes:\n  workload.trace: [t.trace]\n"))


def test_an_override_of_a_named_item_is_checked_on_its_own_system(folder: Path) -> None:
    items = ("{system: cpu/h100-host, override.cpu0.memory.bandwidth: 1 GB/s}",
             "{system: link/pcie5-x16, override.link0.bandwidth: 1 GB/s}")  # fmt: skip
    text = f"name: a\nworkload: {{trace: t.trace}}\naxes:\n  a: [{', '.join(items)}]\n"
    check_sweep(load_sweep(write(folder, text)))
    with pytest.raises(SpecError, match=r"axes.override.cpu0.memory.bandwidth\[0\]: 'cpu0' is not in link/pcie5-x16"):
        plain = re.sub(", override[^}]*", "", text)
        check_sweep(load_sweep(write(folder, plain + "  override.cpu0.memory.bandwidth: [1 GB/s]\n")))


def test_schemas_are_json_schemas_of_the_files() -> None:
    assert set(SCHEMAS) == {"experiment", "sweep", "hardware", "study", "serving"}
    assert set(experiment_schema()["required"]) == {"name", "workload", "system"}
    assert set(sweep_schema()["required"]) == {"name"}
    link = hardware_schema("link")["$defs"]
    assert "name" not in link["LinkPart"]["properties"]
    assert link["Quantity"]["required"] == ["value", "source", "basis"]
    assert len(hardware_schema()["oneOf"]) == len([*PARTS]) + 1
    with pytest.raises(SpecError, match="is not a part kind; did you mean gpu"):
        hardware_schema("gpo")


@pytest.mark.parametrize("schema", [experiment_schema(), sweep_schema(), hardware_schema()])
def test_every_reference_of_a_schema_is_defined(schema: dict[str, object]) -> None:
    used = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
    definitions = schema["$defs"]
    assert isinstance(definitions, dict) and used and used <= set(definitions)


@pytest.mark.parametrize(
    ("axes", "points"),
    [
        (["policy_options.x: {low: 0, high: 1e300, step: 1e-300}"], "about 1e308"),
        ([f"override.gpu0.memory.bandwidth{i}: [1, 2]" for i in range(2000)], "about 1e602"),
    ],
)
def test_grids_of_any_size_are_refused_by_their_size(axes: list[str], points: str, tmp_path: Path) -> None:
    head = "name: a\nworkload: {trace: x}\nsystem: gpu/h100-sxm5-80gb\naxes:\n"
    (tmp_path / "sweep.yaml").write_text(head + "".join(f"  {axis}\n" for axis in axes))
    with pytest.raises(SpecError, match=rf"{points} points; a sweep may have at most"):
        load_sweep(str(tmp_path / "sweep.yaml"))
