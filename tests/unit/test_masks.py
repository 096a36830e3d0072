# SPDX-License-Identifier: Apache-2.0
"""Masks beside a trace: round trip, and files that are damaged or hostile."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from simsparse.core import Trace, TraceBuilder
from simsparse.core.ops import linear
from simsparse.errors import TraceError
from simsparse.trace import load_trace
from simsparse.trace.masks import MaskStore, load_masks, save_with_masks

MASK = np.random.default_rng(0).random((6, 13)) < 0.5


def saved(folder: Path, weight: np.ndarray = MASK) -> tuple[Path, Trace]:
    store = MaskStore()
    stats = {"weight_mask": store.add(weight), "input_mask": store.add(~weight)}
    trace = TraceBuilder("masked").add(linear(6, 6, 13, "fp32", name="a", stats=stats)).build()
    path = save_with_masks(trace, store, folder / "masked.trace")
    return path, load_trace(path)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_masks_come_back(tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray) -> None:
    path, trace = saved(tmp_path_factory.mktemp("masks"), mask)
    masks = load_masks(trace, path.parent)
    assert np.array_equal(masks.weight(trace.ops[0]), mask)
    assert np.array_equal(masks.input(trace.ops[0]), ~mask)


def test_equal_masks_are_kept_once_and_give_equal_files(tmp_path: Path) -> None:
    store = MaskStore()
    assert store.add(MASK) == store.add(MASK.copy())
    assert len(store.masks) == 1
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        saved(tmp_path / name)
    assert (tmp_path / "first/masked.masks.npz").read_bytes() == (tmp_path / "second/masked.masks.npz").read_bytes()


def test_numpy_reads_the_file_without_pickle(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    with np.load(path.with_name("masked.masks.npz"), allow_pickle=False) as file:
        assert np.array_equal(np.unpackbits(file["m0"], axis=1, count=13).astype(bool), MASK)


def test_an_op_without_a_mask_has_none(tmp_path: Path) -> None:
    path, trace = saved(tmp_path)
    assert load_masks(trace, path.parent).weight(linear(1, 1, 1, "fp32", name="b")) is None


def forged(folder: Path, member: bytes, **said: Any) -> Trace:
    """A trace whose mask file holds ``member`` and whose digest is right."""
    path, trace = saved(folder)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m0.npy", member)
    path.with_name("masked.masks.npz").write_bytes(buffer.getvalue())
    digest = {"file": "masked.masks.npz", "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    stats = {"weight_mask": {**trace.ops[0].stats["weight_mask"], **said}}
    return Trace("forged", (trace.ops[0].with_(stats=stats),), {"masks": digest})


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize(
    ("member", "said", "says"),
    [
        (npy(np.array([Bomb()], dtype=object), True), {}, "the trace says uint8"),
        (pickle.dumps(1), {}, "can't be read"),
        (npy(np.zeros((6, 3), np.uint8)), {}, r"the trace says uint8 \(6, 2\)"),
        (npy(np.zeros((6, 2), np.uint8))[:-3], {}, "the array ends early"),
        (npy(np.zeros((6, 2), np.uint8)), {"key": "m7"}, "can't be read"),
        (npy(np.zeros((6, 2), np.uint8)), {"rows": 2**40}, "more than the limit of 268435456"),
        (npy(np.zeros((6, 2), np.uint8)), {"k": True}, "is not the size of a mask"),
        (npy(np.zeros((6, 2), np.uint8)), {"rows": -1}, "is not the size of a mask"),
        (npy(np.zeros(10**8, np.uint8)), {}, "the trace says uint8"),
    ],
)
def test_a_hostile_member_is_refused(tmp_path: Path, member: bytes, said: Any, says: str) -> None:
    trace = forged(tmp_path, member, **said)
    with pytest.raises(TraceError, match=says):
        load_masks(trace, tmp_path).weight(trace.ops[0])


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        (None, "saved without masks"),
        ({"file": "../masked.masks.npz", "sha256": ""}, "not the name of a file beside"),
        ({"file": "absent.npz", "sha256": ""}, "can't be read"),
        ({"file": "masked.masks.npz", "sha256": "0" * 64}, "SHA-256 differs"),
    ],
)
def test_a_file_that_is_not_the_traces_own_is_refused(tmp_path: Path, masks: Any, says: str) -> None:
    _, trace = saved(tmp_path)
    with pytest.raises(TraceError, match=says):
        load_masks(Trace("x", trace.ops, {"masks": masks} if masks else {}), tmp_path)


def test_the_trace_says_where_its_masks_are(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    said = json.loads(path.read_text().splitlines()[0])["meta"]["masks"]
    content = (tmp_path / said["file"]).read_bytes()
    assert (said["bytes"], said["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
