# SPDX-License-Identifier: Apache-2.0
"""What holds for every sweep: points are neither lost nor doubled, whatever the axes, sampler, order and damage."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simsparse.config.axes import Choices, Range
from simsparse.config.sweep import load_sweep
from simsparse.errors import StoreError
from simsparse.store import STORE_NAME, Record, Store
from simsparse.store.forms import HOLE
from simsparse.sweep.sample import sampler_for

QUICK = settings(max_examples=60)
SPARSITIES = ["dense", "2:4", "1:4", "2:8", "1:8", "2:16", "unstructured:0.1", "block32:0.5"]
listed = st.fixed_dictionaries(
    {},
    optional={
        "weight_sparsity": st.lists(st.sampled_from(SPARSITIES), min_size=1, max_size=5, unique=True),
        "seed": st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True),
        "level": st.lists(st.sampled_from([0, 1]), min_size=1, max_size=2, unique=True),
        "override.a.b": st.lists(st.sampled_from(["1 GB/s", "2 GB/s", "3 GB/s"]), min_size=1, unique=True),
    },
).filter(bool)


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.floats(1e-3, 1e3))
    return {"low": low, "high": low * draw(st.floats(1.01, 1e4)), "log": draw(st.booleans()), "unit": "GB/s"}


def load(folder: Path, **fields: Any) -> Any:
    path = folder / "sweep.yaml"
    spec = {"name": "p", "workload": {"trace": "t"}, "system": "s", **fields}
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return load_sweep(str(path))


@QUICK
@given(axes=listed)
def test_a_grid_is_the_product_in_order(axes: dict[str, list[Any]], tmp_path: Path) -> None:
    spec = load(tmp_path, axes=axes)
    sampler = sampler_for(spec)
    draws = sampler.ask()
    drawn = [tuple(axis.labels[i] for axis, i in zip(spec.axes, draw, strict=True)) for draw in draws]
    assert drawn == list(product(*axes.values())) and sampler.total == len(draws) and sampler.ask() == []


@QUICK
@given(axes=listed, data=st.data())
def test_skip_equals_brute_force(axes: dict[str, list[Any]], data: st.DataObject, tmp_path: Path) -> None:
    keys = data.draw(st.lists(st.sampled_from(sorted(axes)), min_size=1, unique=True))
    rule = {key: data.draw(st.lists(st.sampled_from(axes[key]), min_size=1, unique=True)) for key in keys}
    spec = load(tmp_path, axes=axes, skip=[rule])
    kept = [
        point for point in product(*axes.values())
        if not all(dict(zip(axes, point, strict=True))[key] in values for key, values in rule.items())
    ]  # fmt: skip
    drawn = [tuple(a.labels[i] for a, i in zip(spec.axes, draw, strict=True)) for draw in sampler_for(spec).ask()]
    assert drawn == kept


@QUICK
@given(axes=listed, span=ranges(), kind=st.sampled_from(["random", "sobol"]), count=st.integers(1, 70),
       seed=st.integers(0, 2**32))  # fmt: skip
def test_draws_stay_on_their_axes(
    axes: dict[str, list[Any]], span: dict[str, Any], kind: str, count: int, seed: int, tmp_path: Path
) -> None:
    sample = {"kind": kind, "points": count, "seed": seed}
    spec = load(tmp_path, axes={**axes, "override.c.d": span}, sample=sample)
    draws = sampler_for(spec).ask()
    assert len(draws) == count and draws == sampler_for(spec).ask()
    for draw in draws:
        for axis, entry in zip(spec.axes, draw, strict=True):
            if isinstance(axis, Choices):
                assert entry in range(len(axis.items))
            else:
                assert isinstance(axis, Range) and axis.low <= entry <= axis.high * (1 + 1e-12)


@QUICK
@given(axes=listed, seed=st.integers(0, 99), data=st.data())
def test_a_random_subset_is_a_subset_without_repeats(
    axes: dict[str, list[Any]], seed: int, data: st.DataObject, tmp_path: Path
) -> None:
    count = data.draw(st.integers(1, math.prod(map(len, axes.values()))))
    spec = load(tmp_path, axes=axes, sample={"kind": "random", "points": count, "seed": seed})
    draws = sampler_for(spec).ask()
    assert len(draws) == len(set(draws)) == count and draws == sorted(draws)


results = st.sampled_from([(None, None), ('{"level": 0}', None), ("[0]", f'{{"level": {HOLE}}}')])
"""A result and its form: none, written whole, and the filling of a form's hole."""
outcomes = st.builds(
    lambda key, result, error: Record(key, result[0], error, form=result[1]),
    key=st.sampled_from([f"k{i}" for i in range(9)]),
    result=results,
    error=st.none() | st.text(max_size=9),
)


@QUICK
@given(written=st.lists(outcomes, max_size=30))
def test_the_store_keeps_the_last_outcome_of_every_key(
    written: list[Record], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("store")
    for half in (written[::2], written[1::2]):
        with Store.open(out, "p") as store:
            for outcome in half:
                store.put(outcome)
    last = {outcome.key: outcome for half in (written[::2], written[1::2]) for outcome in half}
    with Store.open(out, "p") as store:
        assert store.finished() == {key for key, outcome in last.items() if outcome.result}
        for key, outcome in last.items():
            assert store.summary(key) == (None if outcome.result is None else {"level": 0})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    with Store.open(out, "p") as store:
        for i in range(200):
            store.put(Record(f"key{i}", '{"level": 0}', ops=b"x" * 50))
    return out / STORE_NAME


@settings(QUICK, max_examples=150)
@given(place=st.integers(0, 2**20), cut=st.booleans(), junk=st.binary(min_size=1, max_size=600))
@example(place=3822, cut=False, junk=b"\x80")
def test_a_damaged_store_opens_whole_or_not_at_all(
    place: int, cut: bool, junk: bytes, stored: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("damaged")
    whole = stored.read_bytes()
    where = place % len(whole)
    raw = whole[:where] if cut else whole[:where] + junk + whole[where + len(junk) :]
    (out / STORE_NAME).write_bytes(raw)
    try:
        with Store.open(out, "p") as store:
            store.finished()
            list(store.rows())
            store.put(Record("new", '{"level": 0}'))
            assert "new" in store.finished()
    except StoreError as error:
        assert error.file == str(out / STORE_NAME)
