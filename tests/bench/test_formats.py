# SPDX-License-Identifier: Apache-2.0
"""Speed of formats on a 4096 x 4096 matrix."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simsparse.sparsity.formats import Format
from simsparse.sparsity.formats.bank import BankBalanced
from simsparse.sparsity.formats.bitmap import Bitmap
from simsparse.sparsity.formats.bsr import Bsr
from simsparse.sparsity.formats.compressed import Csc, Csr
from simsparse.sparsity.formats.coo import Coo
from simsparse.sparsity.formats.dense import Dense
from simsparse.sparsity.formats.fan_in import ConstantFanIn
from simsparse.sparsity.formats.grouped_nm import GroupedNM, pattern_order
from simsparse.sparsity.formats.nm import NMBitmap, NMCombinatorial, NMIndex
from simsparse.sparsity.formats.run_length import RunLength
from simsparse.sparsity.formats.sparse24_cutlass import Sparse24Cutlass

pytestmark = pytest.mark.bench
EDGE = 4096
LIMIT_CPU_S = 1.5


def nm(patterns: NDArray[Any], m: int) -> NDArray[np.float32]:
    """A matrix whose groups of ``m`` keep a pattern each, all patterns in turn along the rows."""
    array = np.zeros((EDGE, EDGE // m, m), np.float32)
    kept = patterns[np.add.outer(np.arange(EDGE), np.arange(EDGE // m)) % len(patterns)]
    np.put_along_axis(array, kept, 1, axis=2)
    return array.reshape(EDGE, EDGE)


ORDER = np.array(pattern_order(2, 4))
SPREAD = np.arange(16)[None, :] + np.arange(16)[:, None]


@pytest.mark.parametrize("form", [
    Dense(), Bitmap(), Csr(), Csc(), Coo(), RunLength(4, True), RunLength(4, False), Bsr(16), BankBalanced(4, 2),
    ConstantFanIn(EDGE // 2), NMIndex(2, 4), NMBitmap(2, 4), NMCombinatorial(2, 4), NMCombinatorial(16, 32),
    Sparse24Cutlass(16), Sparse24Cutlass(32), Sparse24Cutlass(16, pairs=True),
    GroupedNM(2, 4, 4)], ids=lambda form: form.name)  # fmt: skip
def test_a_large_matrix(form: Format) -> None:
    array = nm(SPREAD, 32) if isinstance(form, NMCombinatorial) and form.m == 32 else nm(ORDER, 4)
    if isinstance(form, Sparse24Cutlass) and form.pairs:
        array = nm(np.array([[0], [1]]), 2)
    if isinstance(form, GroupedNM):
        array = array[: EDGE // form.chunk * form.chunk]
    began = time.process_time()
    encoded = form.encode(array)
    middle = time.process_time()
    decoded = form.decode(encoded)
    seconds = middle - began, time.process_time() - middle
    print(f"{form.name}: encode {seconds[0]:.2f} s, decode {seconds[1]:.2f} s of processor time")
    np.testing.assert_array_equal(decoded, array)
    assert max(seconds) < LIMIT_CPU_S
