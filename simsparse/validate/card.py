# SPDX-License-Identifier: Apache-2.0
"""A part for a card of one's own: another card's file, and what the probe's rows of this one say otherwise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from simsparse.config.hardware import load_hardware, override_part
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.quantity import Part
from simsparse.devices.gpu import Gpu
from simsparse.errors import SpecError
from simsparse.validate.comparison import Prediction
from simsparse.validate.gemms import predict_gemms
from simsparse.validate.kernels import linear_op, predict_ops
from simsparse.validate.measurement import Measurement

LAUNCHES = {"graph": "tiny_kernel_graph", "eager": "tiny_kernel_eager_async", "sync": "tiny_kernel_sync"}
HALF_COPIES = (64 << 20, 256 << 20)
LONG_COPIES = (1 << 30, 4 << 30)
CACHED_COPY = 4 << 20
"""Bytes of the copies that memory, copy engines and the L2 cache are read off, as on the cards that come along."""
SUSTAINED = {"half": "gemm_dense", "sparse24": "gemm_sparse24", "fp8": "lowp", "int8": "lowp"}
"""Sections by the group of GEMM parameters whose rate under the power limit they show."""
BUSY_FLOPS = 2e11
"""Operations of a product that is long enough to show that rate."""
LEAST, MOST, STEPS = 0.2, 1.2, 24
GOLDEN = (math.sqrt(5) - 1) / 2


class Reading(NamedTuple):
    """One value of the new part: its dotted path, its text, how it was read off the rows, and on what it rests."""

    path: str
    value: str
    note: str
    basis: str = "measured"


def read_card(
    rows: Sequence[Measurement], base: str, stated: Mapping[str, str] = MappingProxyType({})
) -> list[Reading]:
    """What the rows of a probe say of a card that otherwise is like the part ``base``.

    ``stated``: values of the card's data sheet by path, such as ``memory.bandwidth``. Read off: SMs, capacities, the
    share of the bandwidth that reads and copies reach, the L2 cache's bandwidth, times of empty kernels; fitted one by
    one: the rate of long products under the power limit, by type. All else stays as in ``base``.

    Raises SpecError when ``base`` is no GPU, when no row is of use, and when a card reads faster than the bandwidth
    that is stated.
    """
    part = _gpu(override_part(_gpu(load_hardware(base)), stated))
    found = [*_properties(rows), *_launches(rows), *_memory(rows, part)]
    changed = _gpu(override_part(part, {reading.path: reading.value for reading in found}))
    found += _rates(rows, changed)
    if not found:
        raise SpecError("no row of sections env, launch, mem, gemm_dense, gemm_sparse24 or lowp", key="data")
    return [*(Reading(path, value, "as stated", "datasheet") for path, value in stated.items()), *found]


def _gpu(part: Part) -> GpuPart:
    """``part``, which is a GPU. Raises SpecError when it is none."""
    if not isinstance(part, GpuPart):
        raise SpecError(f"{part.name} is a {part.kind}; a probe measures GPUs", key="extends")
    return part


def _properties(rows: Sequence[Measurement]) -> Iterator[Reading]:
    env = next((row for row in rows if row.section == "env" and "sms" in row.fields), None)
    if env is not None:
        yield Reading("compute.sms", str(env.whole("sms")), "device properties")
        yield Reading("memory.capacity", f"{env.whole('mem')} byte", "device properties")
        yield Reading("l2.capacity", f"{env.whole('l2')} byte", "device properties")


def _launches(rows: Sequence[Measurement]) -> Iterator[Reading]:
    seconds = {row.text("op"): row.number("s") for row in rows if row.section == "launch"}
    for key, op in LAUNCHES.items():
        if op in seconds:
            yield Reading(f"launch.{key}", f"{seconds[op] * 1e6:.4g} us", "an empty kernel")


def _memory(rows: Sequence[Measurement], part: GpuPart) -> Iterator[Reading]:
    """Shares of the stated bandwidth, and the L2 cache's. Raises SpecError where a share is over 1."""
    peak = part.memory.bandwidth.si
    mem = [row for row in rows if row.section == "mem"]
    copies = {row.whole("bytes"): row.number("s") for row in mem if row.text("op") == "d2d_copy"}
    reads = {row.whole("bytes"): row.number("s") for row in mem if row.text("op") == "reduce_read"}
    if reads:
        longest = max(reads)
        yield _share("efficiency", longest / reads[longest] / peak, f"sum reduction of {longest >> 20} MiB", part)
    for key, sizes in (("mixed", HALF_COPIES), ("copied", LONG_COPIES)):
        shares = [2 * size / copies[size] / peak for size in sizes if size in copies]
        if shares:
            yield _share(key, statistics.fmean(shares), f"copies of {' and '.join(_mib(sizes))} MiB", part)
    empty = next((row.number("s") for row in rows if row.fields.get("op") == LAUNCHES["graph"]), None)
    if empty is not None and CACHED_COPY in copies and copies[CACHED_COPY] > empty:
        rate = 2 * CACHED_COPY / (copies[CACHED_COPY] - empty)
        yield Reading("l2.bandwidth", f"{rate / 1e12:.4g} TB/s", "copies of 4 MiB, less the time of an empty kernel")


def _mib(sizes: Sequence[int]) -> list[str]:
    return [str(size >> 20) for size in sizes]


def _share(key: str, share: float, note: str, part: GpuPart) -> Reading:
    if share > 1:
        raise SpecError(
            f"{note}: {share:.2f} of the {part.memory.bandwidth.text} that {part.name} states; "
            "state the card's own bandwidth (--set memory.bandwidth=...)",
            key=f"memory.{key}",
        )
    return Reading(f"memory.{key}", f"{share:.4g}", note)


def _rates(rows: Sequence[Measurement], part: GpuPart) -> Iterator[Reading]:
    """The rate of long products by type, each fitted alone with all other values as they are."""
    for group, section in SUSTAINED.items():
        own = [row for row in rows if row.section == section and _long(row) and _of_group(row, group)]
        if own:
            rate = _fitted(f"gemm.{group}.sustained", own, part)
            note = f"least mean error over {len(own)} products of {BUSY_FLOPS:.0e} operations or more"
            yield Reading(f"gemm.{group}.sustained", f"{rate:.4g}", note)


def _long(row: Measurement) -> bool:
    return 2 * row.whole("m") * row.whole("n") * row.whole("k") >= BUSY_FLOPS


def _of_group(row: Measurement, group: str) -> bool:
    return group in ("half", "sparse24") or row.text("dtype").startswith(group)


def _fitted(path: str, rows: Sequence[Measurement], part: GpuPart) -> float:
    """The value at ``path`` of least mean absolute logarithm of predicted over measured, by golden section."""

    def loss(value: float) -> float:
        changed = Gpu(override_part(part, {path: f"{value:.6g}"}))
        return statistics.fmean(abs(math.log1p(each.error)) for each in _predicted(changed, rows))

    low, high = LEAST, _most(path, part)
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    losses = [loss(value) for value in inner]
    for _ in range(STEPS):
        if losses[0] <= losses[1]:
            high, inner[1], losses[1] = inner[1], inner[0], losses[0]
            inner[0] = high - GOLDEN * (high - low)
            losses[0] = loss(inner[0])
        else:
            low, inner[0], losses[0] = inner[0], inner[1], losses[1]
            inner[1] = low + GOLDEN * (high - low)
            losses[1] = loss(inner[1])
    return (low + high) / 2


def _most(path: str, part: GpuPart) -> float:
    """The rate of 16-bit products is at most that of a card with power to spare."""
    burst = part.power.burst
    return burst.rate.si if burst is not None and path == "gemm.half.sustained" else MOST


def _predicted(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction]:
    sparse = rows[0].section == "gemm_sparse24"
    outcome = predict_ops(gpu, rows, op_of=linear_op) if sparse else predict_gemms(gpu, rows)
    return [each for each in outcome if isinstance(each, Prediction)]


def card_text(readings: Sequence[Reading], base: str, source: str, description: str, kind: str = "gpu") -> str:
    """The YAML of a part that extends ``base``; ``source`` names the measurement."""
    lines = [f"kind: {kind}", f"description: {description}", f"extends: {base}"]
    tree: dict[str, object] = {}
    for path, value, note, basis in readings:
        *sections, key = path.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})  # type: ignore[assignment]
        origin = source if basis == "measured" else basis
        node[key] = f'{{value: {value}, source: {origin}, basis: {basis}, note: "{note}"}}'
    return "\n".join([*lines, *_lines(tree), ""])


def _lines(tree: Mapping[str, object], indent: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {value}"
