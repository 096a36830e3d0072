# SPDX-License-Identifier: Apache-2.0
"""How the core is compiled.

LLVM inlines what it finds worth it after linking; numba's own inlining types and lowers a function anew at each call,
which takes more than twice as long. Wrappers for C, and of inner functions those for Python too, are used by nothing.
"""

from __future__ import annotations

from functools import partial

from numba import njit

entry = partial(njit, cache=True, no_cfunc_wrapper=True)
"""Of functions that Python calls."""
inner = partial(njit, cache=True, no_cfunc_wrapper=True, no_cpython_wrapper=True)
"""Of functions that compiled ones alone call."""
hot = partial(inner, forceinline=True)
"""Of inner functions that each look at the queues goes through."""
