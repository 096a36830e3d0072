# SPDX-License-Identifier: Apache-2.0
"""Loops that numba compiles to measure a CPU: chains, streams, gathers, branches, and sparse products."""

# numba reads no annotations of arrays; shapes stand in the docstrings
# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc"

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit
def chain(steps):
    """``steps`` dependent squares and adds of integers: 4 cycles each (3 and 1) on common cores."""
    x = np.uint64(3)
    for _ in range(steps):
        x = x * x + np.uint64(1442695040888963407)
    return x


@njit
def add_chain(values, passes):
    """Sum of ``values`` in their order, which waits for each addition before the next."""
    total = np.float32(0)
    for _ in range(passes):
        for i in range(values.size):
            total += values[i]
    return total


@njit(fastmath=True)
def stream(values, passes):
    """``passes`` sums over ``values`` in vectors; bound by loads."""
    total = np.float32(0)
    for p in range(passes):
        part = np.float32(p)
        for i in range(values.size):
            part += values[i]
        total += part
    return total


@njit(fastmath=True, parallel=True)
def stream_threads(values, passes):
    """The same of each row of ``values`` (threads, size), a thread each."""
    totals = np.zeros(values.shape[0], np.float32)
    for t in prange(values.shape[0]):
        for p in range(passes):
            part = np.float32(p)
            for i in range(values.shape[1]):
                part += values[t, i]
            totals[t] += part
    return totals


@njit(fastmath=True)
def gather(values, places, passes):
    """``passes`` sums over ``values[places]``."""
    total = np.float32(0)
    for p in range(passes):
        part = np.float32(p)
        for i in range(places.size):
            part += values[places[i]]
        total += part
    return total


@njit
def branches(bits, counts, passes):
    """``passes`` walks over ``bits`` with a branch each, round a store that the compiler can't take out of it."""
    for _ in range(passes):
        for i in range(bits.size):
            if bits[i]:
                counts[i & 63] += counts[(i * 7) & 63]
    return counts


@njit(parallel=True)
def fork(out):
    """Start and join all threads for next to no work: ``out`` has an element per thread."""
    for t in prange(out.size):
        out[t] += 1
    return out


@njit(fastmath=True)
def condensed(weights, places, inputs, out):
    """Constant fan-in: weights and places (n, fan), inputs (m, k), out (m, n)."""
    for token in range(inputs.shape[0]):
        for row in range(weights.shape[0]):
            total = np.float32(0)
            for i in range(weights.shape[1]):
                total += weights[row, i] * inputs[token, places[row, i]]
            out[token, row] = total


@njit(fastmath=True)
def csr_axpy(pointers, columns, weights, inputs, out):
    """CSR weights (n, k) times inputs (k, m), added to out (n, m) non-zero by non-zero."""
    for row in range(pointers.size - 1):
        sums = out[row]
        for i in range(pointers[row], pointers[row + 1]):
            weight, taken = weights[i], inputs[columns[i]]
            for token in range(sums.size):
                sums[token] += weight * taken[token]


@njit(fastmath=True)
def csr_vector(pointers, columns, weights, inputs, out):
    """CSR weights (n, k) times one vector of k inputs."""
    for row in range(pointers.size - 1):
        own = weights[pointers[row] : pointers[row + 1]]
        places = columns[pointers[row] : pointers[row + 1]]
        total = np.float32(0)
        for i in range(own.size):
            total += own[i] * inputs[places[i]]
        out[row] = total


@njit(fastmath=True)
def axpy(values, sums, passes):
    """``passes`` additions of scaled ``values`` to ``sums``: two loads and a store per vector."""
    for p in range(passes):
        scale = np.float32(p)
        for i in range(sums.size):
            sums[i] += scale * values[i]


@njit
def forwarded(places, sums, passes):
    """Additions to ``sums[places]``; with equal places each waits for the store of the one before."""
    for _ in range(passes):
        for i in range(places.size):
            sums[places[i]] += np.float32(1)
