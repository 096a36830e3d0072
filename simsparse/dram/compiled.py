# SPDX-License-Identifier: Apache-2.0
"""How the core is compiled.

LLVM inlines what it finds worth it after linking; numba's own inlining types and lowers a function anew at each call,
which takes more than twice as long. Wrappers for C are used by nothing.
"""

from __future__ import annotations

from functools import partial

from numba import njit

compiled = partial(njit, cache=True, no_cfunc_wrapper=True)
"""Decorator of the core's functions."""
hot = partial(compiled, forceinline=True)
"""Of small functions that each look at the queues, request or command runs, and of larger ones with one call."""
