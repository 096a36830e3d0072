# SPDX-License-Identifier: Apache-2.0
"""FLOPs of factorisations and solves, which no product of matrices stands for: free of torch.

Source: Golub and Van Loan, Matrix Computations (4th edition): 3.2 (LU), 4.2 (Cholesky), 5.2 (Householder QR), 7.5
(eigenvalues: 10 n^3, with vectors 25 n^3), 8.3 (symmetric: 4/3 n^3, with vectors 9 n^3) and 8.6 (singular values:
4 m n^2 - 4/3 n^3, with vectors 14 m n^2 + 8 n^3). The exponential is the five products of a Taylor polynomial of degree
18 (Bader, Blanes and Casas, Mathematics 7, 2019), without the squarings, whose number depends on values. ``eigvalsh``
and ``svdvals`` count the vectors too: torch computes them whenever it is traced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def _lu(m: int, n: int, _: int) -> float:
    return n * n * (m - n / 3)


def _qr(m: int, n: int, _: int) -> float:
    return 2 * n * n * (m - n / 3)


def _svd(m: int, n: int, _: int) -> float:
    return 14 * m * n * n + 8 * n**3


_FLOPS: Mapping[str, Callable[[int, int, int], float]] = {
    "linalg_cholesky_ex": lambda _, n, __: n**3 / 3,
    "cholesky": lambda _, n, __: n**3 / 3,
    "cholesky_inverse": lambda _, n, __: 2 * n**3 / 3,
    "cholesky_solve": lambda _, n, k: 2 * n * n * k,
    "_cholesky_solve_helper": lambda _, n, k: 2 * n * n * k,
    "linalg_inv_ex": lambda _, n, __: 2 * n**3,
    "linalg_lu": _lu, "linalg_lu_factor_ex": _lu, "_linalg_det": _lu, "_linalg_slogdet": _lu,
    "linalg_lu_solve": lambda _, n, k: 2 * n * n * k,
    "_linalg_solve_ex": lambda m, n, k: _lu(m, n, k) + 2 * n * n * k,
    "linalg_ldl_factor_ex": lambda _, n, __: n**3 / 3,
    "linalg_ldl_solve": lambda _, n, k: 2 * n * n * k,
    "linalg_solve_triangular": lambda _, n, k: n * n * k,
    "triangular_solve": lambda _, n, k: n * n * k,
    "geqrf": _qr, "linalg_householder_product": _qr,
    "linalg_qr": lambda m, n, k: 2 * _qr(m, n, k),
    "ormqr": lambda m, n, k: 2 * n * k * (2 * m - n),
    "linalg_lstsq": lambda m, n, k: _qr(m, n, k) + 2 * n * k * (2 * m - n) + n * n * k,
    "_linalg_eigh": lambda _, n, __: 9 * n**3,
    "_linalg_eigh values": lambda _, n, __: 4 * n**3 / 3,
    "linalg_eig": lambda _, n, __: 25 * n**3,
    "_linalg_eigvals": lambda _, n, __: 10 * n**3,
    "linalg_eigvals": lambda _, n, __: 10 * n**3,
    "_linalg_svd": _svd,
    "_linalg_svd values": lambda m, n, _: 4 * m * n * n - 4 * n**3 / 3,
    "linalg_pinv": lambda m, n, k: _svd(m, n, k) + 2 * m * n * n,
    "linalg_matrix_exp": lambda _, n, __: 10 * n**3,
}  # fmt: skip
"""Of the longer side m and the shorter side n of the matrix, and k columns of the right-hand side."""
FACTORISATIONS = frozenset(name for name in _FLOPS if " " not in name)
_PLACES: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("_linalg_solve_ex", "linalg_solve_triangular", "linalg_lstsq"), (0, 1)),
    **dict.fromkeys(("linalg_lu_solve", "linalg_ldl_solve", "ormqr"), (0, 2)),
    **dict.fromkeys(("cholesky_solve", "_cholesky_solve_helper", "triangular_solve"), (1, 0)),
}
"""The inputs that are the matrix and the right-hand side, of the functions that have one."""


def flops_of(name: str, shapes: Sequence[Sequence[int]], given: Mapping[str, Any]) -> int:
    """FLOPs of a factorisation or a solve, by the ``shapes`` of its inputs and its other arguments; 0 of empty ones."""
    place, right = _PLACES.get(name, (0, None))
    *batch, rows, cols = shapes[place]
    m, n, matrices = max(rows, cols), min(rows, cols), math.prod(batch)
    k = math.prod(shapes[right]) // max(1, matrices * rows) if right is not None else 0
    only_values = given.get("compute_v") is False or given.get("compute_uv") is False
    return round(matrices * _FLOPS[f"{name} values" if only_values else name](m, n, k))
