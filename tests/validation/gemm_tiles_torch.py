# SPDX-License-Identifier: Apache-2.0
"""The model of simsparse.devices.gpu_tile_kernels once more, in torch, so that its parameters have gradients.

``fit_gpu_gemm_tiles.py`` fits with it and refuses to print parameters with which the two differ. Times are
microseconds, so that fourth powers fit into 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from simsparse.devices.gpu_gemm_types import GemmShapes
from simsparse.devices.gpu_tile_columns import TileCore
from simsparse.devices.gpu_tile_kernels import LINE_BYTES, MOST_DOUBLINGS, MOST_HELD, RANKED, USUAL_K, tilings
from simsparse.devices.gpu_tile_numbers import TileKernel
from simsparse.validate.gemms import SPARED_S

Tensor = torch.Tensor
Floats = NDArray[np.float64]
MICRO = 1e6
NEVER = -1e6
"""Score of a tile that the library never takes; finite, so that gradients are numbers."""


@dataclass(frozen=True)
class Gemms:
    """GEMMs of one or several cards as columns (GEMMs, 1).

    ``load``: seconds for which the card had run when a GEMM was timed; ``target``: its microseconds; ``weight``: how
    often a fit draws it. ``stored``: bytes of a weight over those of an input. ``source`` and ``card``: indexes of the
    file that it is from and of its card; ``sms`` to ``l2_bytes``: that card's numbers, rates per microsecond.
    """

    m: Tensor
    n: Tensor
    k: Tensor
    batch: Tensor
    size: Tensor
    stored: Tensor
    weight_sets: Tensor
    input_sets: Tensor
    load: Tensor
    target: Tensor
    weight: Tensor
    source: Tensor
    card: Tensor
    sms: Tensor
    clock: Tensor
    flops: Tensor
    hbm: Tensor
    l2_bytes: Tensor

    def take(self, chosen: Tensor) -> Gemms:
        return Gemms(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def together(cls, parts: list[Gemms]) -> Gemms:
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @classmethod
    def of(
        cls,
        shapes: GemmShapes,
        core: TileCore,
        hbm_bytes_per_s: float,
        card: int,
        source: int,
        load: Floats,
        seconds: Floats,
    ) -> Gemms:
        """GEMMs of one file."""
        same = np.ones(len(shapes.m))
        sets = [
            np.full(len(same), np.inf) if each is None else each for each in (shapes.weight_sets, shapes.input_sets)
        ]
        return cls(*(
            torch.tensor(np.asarray(each), dtype=torch.float32)[:, None] for each in (
                shapes.m, shapes.n, shapes.k, shapes.batch, shapes.value_bytes, shapes.stored, *sets, load,
                seconds * MICRO, same, source * same, card * same, core.sms * same, core.clock_hz / MICRO * same,
                core.flops / MICRO * same, hbm_bytes_per_s / MICRO * same, core.l2_bytes * same,
            )
        ))  # fmt: skip


@dataclass(frozen=True)
class Tiling:
    """What each tile launches for each GEMM (GEMMs, tiles): constant over a fit."""

    outputs: Tensor
    tokens: Tensor
    columns: Tensor
    rows: Tensor
    splits: Tensor
    family: Tensor

    def take(self, chosen: Tensor) -> Tiling:
        return Tiling(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def ranked(self, places: Tensor) -> Tiling:
        return Tiling(*(torch.gather(getattr(self, field.name), 1, places) for field in fields(self)))

    @classmethod
    def of(cls, gemms: Gemms, kernel: TileKernel) -> Tiling:
        """All tiles for all GEMMs."""
        m, n = gemms.m.double().numpy(), gemms.n.double().numpy()
        found = tilings(m.T, n.T, kernel.sides)
        columns = [each[kernel.row].T for each in (found.outputs, found.tokens, found.columns, found.rows)]
        shape = columns[0].shape
        tensors = [
            torch.tensor(np.broadcast_to(each, shape).copy(), dtype=torch.float32)
            for each in (*columns, kernel.splits.T)
        ]
        return cls(*tensors, torch.tensor(np.broadcast_to(kernel.row, shape).copy()))


Values = dict[str, Tensor]


def modelled(gemms: Gemms, tiling: Tiling, values: Values) -> Tensor:
    """Microseconds of each GEMM (GEMMs,); ``values``: SI names of GpuTileKernel, launches in microseconds.

    ``view.NAME``; ``efficiency``, ``preference``, ``by_k`` and ``by_blocks`` (one per row of the tile table);
    ``memory`` and ``sustained`` (one per card); ``source_launch``, ``source_speed`` and ``rested`` (one per file): what
    a kernel takes more there, the rate over that which the power limit allows for ever, and what a rest adds to it.
    """
    score = scores(gemms, tiling, values)
    if score.shape[1] > RANKED:
        score, places = score.topk(RANKED, dim=1)
        tiling = tiling.ranked(places)
    launch, compute, memory = _parts(gemms, tiling, values, False)
    busy = torch.maximum(_joined(compute, memory), _power(gemms, tiling, values))
    launch = launch + values["source_launch"][gemms.source.long()]
    return (torch.softmax(score, dim=1) * (launch + busy)).sum(dim=1)


def scores(gemms: Gemms, tiling: Tiling, values: Values) -> Tensor:
    """How likely the library takes each tile, as logarithms up to a constant (GEMMs, tiles)."""
    launch, compute, memory = _parts(gemms, tiling, values, True)
    seconds = launch + _joined(compute, memory)
    never = (gemms.batch > 1) & (tiling.splits > 1)
    relative = 1.0 - seconds / seconds.masked_fill(never, torch.inf).min(dim=1, keepdim=True).values
    return (relative / values["spread"] + _leaning(gemms, tiling, values)).masked_fill(never, NEVER)


def surprise(gemms: Gemms, tiling: Tiling, values: Values, seen: Tensor) -> Tensor:
    """Mean -log of how likely the library takes the tiles that a profile has ``seen``: rows of the table, or -1."""
    known = seen >= 0
    if not known.any():
        return torch.zeros(())
    likely = torch.log_softmax(scores(gemms, tiling, values), dim=1)
    own = torch.where(tiling.family == seen[:, None], likely, -torch.inf)
    return -torch.logsumexp(own[known], dim=1).mean()


def _leaning(g: Gemms, t: Tiling, v: Values) -> Tensor:
    blocks = torch.log2(_blocks(g, t) / g.sms).clamp(-MOST_DOUBLINGS, MOST_DOUBLINGS)
    by_k = v["by_k"][t.family] * torch.log2(g.k / USUAL_K)
    return v["preference"][t.family] + by_k + v["by_blocks"][t.family] * blocks


def _parts(gemms: Gemms, tiling: Tiling, v: Values, estimated: bool) -> tuple[Tensor, Tensor, Tensor]:
    def viewed(name: str, own: str) -> Tensor:
        return v[name] * v[f"view.{own}"] if estimated else v[name]

    missing = v["view.missing"] if estimated else _lost(_looped(gemms), v["resident"] * gemms.l2_bytes, v["sharpness"])
    split = torch.where(tiling.splits > 1, viewed("split_launch", "split") + v["cold_split"] * missing, 0.0)
    l2_rate = v["l2"] * gemms.sms * gemms.clock
    partial = torch.where(tiling.splits > 1, 8.0 * gemms.m * gemms.n * gemms.batch * tiling.splits / l2_rate, 0.0)
    launch = v["launch"] + (0.0 if estimated else v["cold_launch"] * missing) + split + partial
    waves = _waves(gemms, tiling, v, missing, viewed("overhead", "overhead"), viewed("port", "port"),
                   viewed("fill", "fill"))  # fmt: skip
    share = v["view.memory"] if estimated else _own(v["memory"], gemms)
    return launch, waves, _memory(gemms, tiling, v, missing, viewed("stream", "stream"), share, estimated)


def _own(values: Tensor, gemms: Gemms) -> Tensor:
    """The value of each GEMM's card."""
    return values[gemms.card.long()]


def _looped(g: Gemms) -> Tensor:
    return g.weight_sets * _weights(g) + g.input_sets * _inputs(g) + _outputs(g)


def _weights(g: Gemms) -> Tensor:
    return g.stored * g.size * g.n * g.k * g.batch


def _inputs(g: Gemms) -> Tensor:
    return g.size * g.m * g.k * g.batch


def _outputs(g: Gemms) -> Tensor:
    return g.size.clamp(min=2.0) * g.m * g.n * g.batch


def _waves(
    g: Gemms, t: Tiling, v: Values, missing: Tensor, overhead: Tensor, port: Tensor, fill: Tensor
) -> Tensor:  # fmt: skip
    area = t.outputs * t.tokens
    rate = g.flops * v["tensor"] * v["efficiency"][t.family]
    ragged = (g.k * g.size % LINE_BYTES > 0) | (g.n * g.size.clamp(min=2.0) % LINE_BYTES > 0)
    extra = overhead + v["cold_overhead"] * missing + v["ragged"] * ragged
    own = 2.0 * area * g.sms / rate * g.clock
    products = own + extra
    longer, shorter = torch.maximum(t.tokens, t.outputs), torch.minimum(t.tokens, t.outputs)
    reads = g.size * (shorter + longer * v["multicast"]) / port
    steps = torch.ceil(g.k / t.splits / v["step"]) * v["step"]
    filled = _blocks(g, t) / g.sms
    cycles = torch.ceil(filled) * (fill + area * v["epilogue"] + steps * _joined(products, reads))
    if "held" in v:
        held = torch.floor(v["held"] / area).clamp(1.0, MOST_HELD)
        rounds, busy = torch.ceil(torch.ceil(filled) / held), area * v["epilogue"] + steps * _joined(own, reads)
        alone = fill + area * v["epilogue"] + steps * _joined(products, reads)
        cycles = torch.maximum(rounds * alone, torch.ceil(filled) * busy)
    return cycles * (1.0 - v["crowding"] * (1.0 - filled.clamp(max=1.0))) / g.clock


def _blocks(g: Gemms, t: Tiling) -> Tensor:
    return t.columns * t.rows * g.batch * t.splits


def _memory(
    g: Gemms, t: Tiling, v: Values, missing: Tensor, stream: Tensor, share: Tensor, estimated: bool
) -> Tensor:  # fmt: skip
    operands = _weights(g) + _inputs(g)
    away = _away(g, t, v, missing, estimated)
    kept = 0.0 if estimated else _outputs(g) * (1.0 - _output_lost(g, v))
    near = (1.0 - missing) * operands + kept + v["reread"] * _inputs(g) * (t.columns - 1.0)
    drawn = torch.minimum(_blocks(g, t), g.sms) * stream * g.clock
    hbm, l2 = share * g.hbm, v["l2"] * g.sms * g.clock
    return away * torch.sqrt(hbm**-2.0 + drawn**-2.0) + near * torch.sqrt(l2**-2.0 + (drawn * v["l2_stream"]) ** -2.0)


def _away(g: Gemms, t: Tiling, v: Values, missing: Tensor, estimated: bool) -> Tensor:
    operands = _weights(g) + _inputs(g)
    lost = _lost(operands, v["resident_operands"] * g.l2_bytes, v["sharpness"])
    waves = _blocks(g, t) / t.splits / g.sms
    square = 2.0 * torch.sqrt(g.sms * t.outputs * t.tokens) * g.k * g.size
    read = torch.maximum(operands, lost * v["thrash"] * waves * square)
    return missing * read + v["write"] * _outputs(g) * (1.0 if estimated else _output_lost(g, v))


def _output_lost(g: Gemms, v: Values) -> Tensor:
    return _lost(_outputs(g) + _inputs(g), v["resident_output"] * g.l2_bytes, v["sharpness"])


def _lost(touched: Tensor, room: Tensor, sharpness: Tensor) -> Tensor:
    return torch.sigmoid(sharpness * (torch.log(touched) - torch.log(room)))


def _power(g: Gemms, t: Tiling, v: Values) -> Tensor:
    useful = 2.0 * g.m * g.n * g.k * g.batch
    padded = 2.0 * t.outputs * t.tokens * t.columns * t.rows * g.batch * g.k
    products = v["padded"] * padded + (1.0 - v["padded"]) * useful
    missing = _lost(_looped(g), v["resident"] * g.l2_bytes, v["sharpness"])
    traffic = v["byte_flops"] * _away(g, t, v, missing, False)
    return (products + traffic) / (_own(v["sustained"], g) * g.flops) / _speed(g, v)


def _speed(g: Gemms, v: Values) -> Tensor:
    source = g.source.long()
    return v["source_speed"][source] * (1.0 + v["rested"][source] * torch.exp(-g.load / SPARED_S))


def _joined(first: Tensor, second: Tensor) -> Tensor:
    a, b = first * first, second * second
    return torch.sqrt(torch.sqrt(a * a + b * b + 1e-30))
