# SPDX-License-Identifier: Apache-2.0
"""Measure this machine's CPU: what its core and caches reach, and products of libraries to judge the model by.

Needs numba and SciPy; with torch its dense and CSR products are measured too. Rows of section ``cpu_core`` hold one
number each (``value``, in SI units); those of ``cpu_kernels`` hold a product and its seconds.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .timing import RowDict

CHAIN_CYCLES = 4
"""Cycles of an integer multiply and an add that wait for each other. Source: Agner Fog, Instruction tables."""
SYSTEM = Path("/sys/devices/system/cpu")
LAYERS = ((512, 512), (768, 3072))
"""Outputs and inputs of the measured products."""
DENSITIES = (0.03, 0.1, 0.3)
TOKENS = (1, 8, 64)


def best_seconds(call: Callable[[], object], least_s: float = 0.02, rounds: int = 5) -> float:
    """Least seconds of this thread's own work of one call, over ``rounds`` loops of at least ``least_s``.

    Other processes of the machine do not lengthen that time, but for what they take of caches and memory.
    """
    clock = time.thread_time
    call()
    times, spent, repeats = [], 0.0, 1
    while spent < least_s:
        repeats *= 2 if spent else 1
        began = clock()
        for _ in range(repeats):
            call()
        spent = clock() - began
    for _ in range(rounds):
        began = clock()
        for _ in range(repeats):
            call()
        times.append((clock() - began) / repeats)
    return min(times)


def least_seconds(call: Callable[[], object], calls: int = 200) -> float:
    """Least seconds by the clock of single calls, of which one may find all processors free."""
    call()
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def cache_bytes() -> dict[str, int]:
    """Bytes of the data caches of the first core by level, as the system states them; empty where it does not."""
    found = {}
    for folder in sorted((SYSTEM / "cpu0" / "cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind in ("Data", "Unified"):
            found[f"l{level}"] = int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
    return found


def vector_bytes() -> int:
    """Bytes of the vectors that numba compiles for."""
    from numba.core.codegen import get_host_cpu_features

    features = get_host_cpu_features()
    return 64 if "+avx512f" in features else 32 if "+avx2" in features else 16


def _core(threads: int) -> Iterator[RowDict]:
    """Numbers of one core and of its caches."""
    from . import cpu_loops as loops

    steps = 200_000
    clock = CHAIN_CYCLES * steps / best_seconds(lambda: loops.chain(steps))
    yield {"op": "clock", "value": clock}
    yield {"op": "vector", "value": vector_bytes()}
    caches = cache_bytes()
    yield from ({"op": f"{name}_bytes", "value": size} for name, size in caches.items())
    small = np.ones(2048, np.float32)
    yield {"op": "fma_latency", "value": clock * best_seconds(lambda: loops.add_chain(small, 10)) / 20_480}
    cycles = clock * best_seconds(lambda: loops.stream(small, 100)) / 100
    yield {"op": "loads", "value": small.nbytes / vector_bytes() / cycles}
    sums, same = np.zeros(2048, np.float32), np.zeros(1024, np.int32)
    cycles = clock * best_seconds(lambda: loops.axpy(small, sums, 100)) / 100
    yield {"op": "stores", "value": small.nbytes / vector_bytes() / cycles}
    yield {"op": "add_in_memory", "value": clock * best_seconds(lambda: loops.forwarded(same, sums, 20)) / 20_480}
    rng = np.random.default_rng(0)
    places = rng.integers(0, 2048, 1024).astype(np.int32)
    yield {"op": "gather", "value": clock * best_seconds(lambda: loops.gather(small, places, 50)) / 51_200}
    random, counts = rng.random(1 << 16) < 0.5, np.ones(64, np.int64)
    taken = [random, np.arange(random.size) % 2 == 0]
    seconds = [best_seconds(lambda bits=bits: loops.branches(bits, counts, 2)) for bits in taken]  # type: ignore[misc]
    yield {"op": "miss", "value": max(0.0, clock * (seconds[0] - seconds[1]) / random.size)}
    yield from _levels(caches, rng)
    yield from _threads(caches, threads)


def _levels(caches: dict[str, int], rng: np.random.Generator) -> Iterator[RowDict]:
    """Bandwidth of one thread, and seconds of a line at random, from each level beyond the first."""
    from . import cpu_loops as loops

    last = max(caches.values(), default=32 << 20)
    sizes = {name: size // 2 for name, size in caches.items() if name != "l1"} | {"dram": 4 * last}
    for name, size in sizes.items():
        values = np.ones(size // 4, np.float32)
        passes = max(1, (4 << 20) // size)
        seconds = best_seconds(lambda v=values, p=passes: loops.stream(v, p), rounds=4)  # type: ignore[misc]
        yield {"op": f"{name}_bandwidth", "value": values.nbytes * passes / seconds}
        places = (rng.integers(0, values.size // 16, 1 << 16) * 16).astype(np.int32)
        seconds = best_seconds(lambda v=values, at=places: loops.gather(v, at, 1), rounds=4)  # type: ignore[misc]
        yield {"op": f"{name}_line", "value": seconds / places.size}


def _threads(caches: dict[str, int], threads: int) -> Iterator[RowDict]:
    """What all threads reach together."""
    import numba

    from . import cpu_loops as loops

    numba.set_num_threads(threads)
    yield {"op": "threads", "value": threads}
    values = np.ones((threads, max(caches.values(), default=32 << 20) // 2), np.float32)
    seconds = least_seconds(lambda: loops.stream_threads(values, 1), 20)
    yield {"op": "all_dram_bandwidth", "value": values.nbytes / seconds}
    out = np.zeros(threads, np.int64)
    yield {"op": "fork", "value": least_seconds(lambda: loops.fork(out))}


def _products(calls: dict[str, float]) -> Iterator[tuple[RowDict, Callable[[], object]]]:
    """Products of each library with weights that stay in the caches; ``calls``: seconds of an empty call of each."""
    rng = np.random.default_rng(1)
    for (n, k), density in ((layer, density) for layer in LAYERS for density in DENSITIES):
        layer = _ProbedLayer.drawn(n, k, density, rng)
        for m in TOKENS:
            shape = {"m": m, "n": n, "k": k, "dtype": "fp32", "threads": 1}
            for op, library, call in (*layer.compiled(m), *layer.scipy(m), *layer.torch(m)):
                share = 1.0 if op == "dense" else density
                yield {**shape, "op": op, "density": share, "call_s": calls[library]}, call


@dataclass(frozen=True)
class _ProbedLayer:
    """Weights (n, k) of one density as CSR, and with equally many in each row."""

    density: float
    csr: Any
    places: Any
    weights: Any

    @classmethod
    def drawn(cls, n: int, k: int, density: float, rng: np.random.Generator) -> _ProbedLayer:
        import scipy.sparse

        csr = scipy.sparse.random(n, k, density, "csr", np.float32, rng)
        csr.sort_indices()
        fan = max(1, round(density * k))
        places = np.sort(rng.permuted(np.tile(np.arange(k), (n, 1)), axis=1)[:, :fan], axis=1).astype(np.int32)
        return cls(density, csr, places, np.ones((n, fan), np.float32))

    def compiled(self, m: int) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Loops of our own."""
        from . import cpu_loops as loops

        n, k = self.csr.shape
        parts = (self.csr.indptr, self.csr.indices, self.csr.data)
        x, out = np.ones((m, k), np.float32), np.zeros((m, n), np.float32)
        yield "condensed", "numba", lambda: loops.condensed(self.weights, self.places, x, out)
        if m == 1:
            yield "csr_vector", "numba", lambda: loops.csr_vector(*parts, x[0], out[0])
        else:
            inputs, sums = np.ones((k, m), np.float32), np.zeros((n, m), np.float32)
            yield "csr_axpy", "numba", lambda: loops.csr_axpy(*parts, inputs, sums)

    def scipy(self, m: int) -> Iterator[tuple[str, str, Callable[[], object]]]:
        inputs = np.ones(self.csr.shape[1] if m == 1 else (self.csr.shape[1], m), np.float32)
        yield "csr_scipy", "scipy", lambda: self.csr @ inputs

    def torch(self, m: int) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Where torch is there."""
        if importlib.util.find_spec("torch") is None:
            return
        import torch

        torch.set_num_threads(1)
        n, k = self.csr.shape
        inputs = torch.ones(m, k)
        if self.density == DENSITIES[0]:
            dense = torch.ones(n, k)
            yield "dense", "torch", lambda: torch.nn.functional.linear(inputs, dense)
        parts = (torch.from_numpy(each.astype(np.int64)) for each in (self.csr.indptr, self.csr.indices))
        sparse = torch.sparse_csr_tensor(*parts, torch.from_numpy(self.csr.data), (n, k), check_invariants=False)
        yield "csr_torch", "torch_csr", lambda: torch.nn.functional.linear(inputs, sparse)


def _calls() -> dict[str, float]:
    """Seconds of a call of each library that computes next to nothing."""
    import scipy.sparse

    from . import cpu_loops as loops

    one, vector = scipy.sparse.csr_matrix(np.eye(4, dtype=np.float32)), np.ones(4, np.float32)
    tiny, sums = (one.indptr, one.indices, one.data), np.zeros(4, np.float32)
    found = {"scipy": best_seconds(lambda: one @ vector)}
    found["numba"] = best_seconds(lambda: loops.csr_vector(*tiny, vector, sums))
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        x, w, sparse = torch.ones(1, 8), torch.ones(8, 8), torch.eye(8).to_sparse_csr()
        found["torch"] = best_seconds(lambda: torch.nn.functional.linear(x, w))
        found["torch_csr"] = best_seconds(lambda: torch.nn.functional.linear(x, sparse))
    return found


def _gemm() -> RowDict:
    """Operations per second of a dense product on one thread, by torch or else NumPy."""
    call: Callable[[], object]
    large = np.ones((1024, 1024), np.float32)
    call = lambda: large @ large  # noqa: E731
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        tensor = torch.from_numpy(large)
        call = lambda: tensor @ tensor  # noqa: E731
    return {"op": "gemm", "value": 2 * 1024**3 / best_seconds(call, rounds=3)}


def measure_cpu(out: Path, limit_s: float, say: Callable[[str], object]) -> int:
    """Write the rows of this machine's CPU to ``out`` as they come; stop at ``limit_s``. Returns their number.

    ``say`` is told of each section that is done.
    """
    import warnings

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    began, rows = time.perf_counter(), 0
    with out.open("w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that CSR is in beta

        def write(row: RowDict) -> bool:
            nonlocal rows
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows += 1
            return time.perf_counter() - began > limit_s

        write({"section": "env", "name": _name(), "cores": threads, "memory": _memory_bytes()})
        calls = _calls()
        empty = [{"op": f"call_{name}", "value": seconds} for name, seconds in calls.items()]
        sections = {
            "cpu_core": chain(_core(threads), empty, (_gemm() for _ in (0,))),
            "cpu_kernels": ({**row, "s": best_seconds(call, rounds=4)} for row, call in _products(calls)),
        }
        for name, source in sections.items():
            for row in source:
                if write({"section": name, **row}):
                    return rows
            say(f"{name}: {time.perf_counter() - began:.1f} s, {rows} rows in all")
    return rows


def _name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 8 << 30
