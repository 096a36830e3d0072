# SPDX-License-Identifier: Apache-2.0
"""Fit the tiled GEMM kernels of a library and print them as YAML, or write them into hw_models.

``python tests/validation/fit_gpu_gemm_tiles.py --tables FOLDER --second FILE [--only hopper.half] [--write]``. FOLDER
holds ``gemm_perf`` tables of ai-dynamo/aiconfigurator at commit 095f58a51c4c as CSV, half of the rows of each
(docs/howto/validate.md names the files); FILE has rows of random shapes measured on an H200. Neither is part of this
project; rows of tests/validation/data/gpu are always read. Prints the error in sample, of the rows of tables that the
fit did not read, and, with --folds, of whole weight shapes (n, k) left out of all files at once. Least mean
|log(model / measured)| by Adam, with a weak pull of the tiles towards one another; kernels other than the 16-bit ones
keep what describes the card.

Rows of random_*.jsonl name the kernels that ran, and with them the tile: those of unaligned, row-wise, int8 and 2:4
kernels, few of which are in use, are fitted so that the library's estimate also takes the tile that was seen.

A file of ours has conditions of its own (launch, rate under the power limit), which are fitted, but not of FILE; those
of tables are constants of simsparse.validate.tables.gemm.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from gemm_tiles_torch import Floats, Gemms, Tensor, Tiling, Values, modelled, surprise
from gemm_tiles_yaml import BY_TILE, GIVEN, kernel_of, section_of, values_of, write_rates, write_section
from numpy.typing import NDArray

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.config.parts.gpu_tile_kernels import MATRIX_VECTOR_TOKENS, GpuTileKernel
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit
from simsparse.devices.gpu_gemm_library import (
    ALIGNED_BYTES,
    SPARSE24_UNITS,
    UNALIGNED,
    alignment,
    tile_card,
)
from simsparse.devices.gpu_gemm_types import WEIGHT_ONLY
from simsparse.devices.gpu_rates import gemm_machine
from simsparse.devices.gpu_sparse24 import stored_24
from simsparse.devices.gpu_tile_columns import TileCard
from simsparse.devices.gpu_tile_kernels import tile_kernel_seconds
from simsparse.devices.gpu_tile_numbers import TileKernel
from simsparse.validate.gemms import QUANTIZED, REPLAYS, gemm_shapes
from simsparse.validate.measurement import Measurement, read_measurements
from simsparse.validate.tables import read_table
from simsparse.validate.tables.gemm import LAUNCH_S, PROFILED_S, RESTED, SHORT_RUN, UNSET, table_shapes

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/validation/data/gpu"
SECTIONS = ("gemm_dense", "gemm_hot", "gemm_fp32", "lowp", "quant", "lowp_sparse24", "bmm")
NARROWED = ("bf16", "fp16", "float16", "fp8_e4m3", "int8", "fp32", "bfloat16", "float32", "tf32")
OWN = {"h100": "h100_sxm5_80gb", "h200": "h200_sxm5_141gb"}
PARTS = {
    "h100": "gpu/h100-sxm5-80gb", "h200": "gpu/h200-sxm5-141gb", "a100": "gpu/a100-sxm4-80gb",
    "l40s": "gpu/l40s-48gb", "b200": "gpu/b200-sxm-180gb",
}  # fmt: skip
TABLES = {
    "h200": "aic_gemm_h200_bf16_power", "h100": "aic_gemm_h100_bf16", "a100": "aic_gemm_a100_bf16",
    "l40s": "aic_gemm_l40s_bf16", "b200": "aic_gemm_b200_bf16_power",
}  # fmt: skip
VECTOR_TOKENS = 15
"""Tokens up to which a library may take kernels of few tokens for narrow weights (fit_gpu_weight_only.py)."""
WIDENED_TABLE = "aic_gemm_weightonly_h200_a100_l40s"
ROWS = {"second": 10.0, "random": 6.0, "more": 1.0, "table": 700.0}
"""How often a row of the second file, of our random shapes and of further files is drawn, and rows drawn of a table,
where a row of ours is drawn once."""
START = {  # launches in microseconds
    "launch": 2.7, "cold_launch": 0.3, "overhead": 1.3, "cold_overhead": 0.4, "fill": 400.0, "epilogue": 0.06,
    "tensor": 1.05, "port": 100.0, "multicast": 0.7, "stream": 70.0, "l2_stream": 1.2, "l2": 100.0, "split_launch": 2.5,
    "cold_split": 0.02, "reread": 0.2, "write": 1.0, "thrash": 1.3, "resident": 0.5, "sharpness": 4.0,
    "resident_output": 0.25, "resident_operands": 0.2, "padded": 0.8, "byte_flops": 50.0, "spread": 0.06,
    "crowding": 0.1, "ragged": 0.1, "view.overhead": 1.5, "view.port": 1.5, "view.fill": 0.8, "view.stream": 1.5,
    "view.split": 1.5, "view.missing": 0.2, "view.memory": 0.4,
}  # fmt: skip
LEAST = 1e-6
"""Least of a number where a fit starts: fits move logarithms."""
MOST = {"padded": 1.0, "crowding": 0.9, "view.missing": 1.0, "view.memory": 1.0, "sharpness": 20.0}
OF_CARD = ("cold_launch", "l2_stream", "l2", "cold_split", "reread", "write", "thrash", "resident",
           "sharpness", "resident_output", "resident_operands")  # fmt: skip
"""What kernels of all types keep of the 16-bit ones of the architecture."""
LEANING = ("by_k", "by_blocks")
"""Columns of the tile table that only kernels with many rows have; few would extrapolate them."""
PULL = {"efficiency": 0.1, "preference": 1e-3, "by_k": 1e-2, "by_blocks": 1e-2}
NARROW = {"gemv": (8, 1), "gemmSN_TN_kernel": (64, 8)}
"""Outputs and tokens of kernels for few tokens, of blocks that share an SM together."""
SEEN = 0.02
"""What a profile's kernel counts for against the error of the times."""
BATCH, RATE, CLIP = 768, 0.02, 1.0
AGREEMENT = 2e-3
"""Most that the mean of |twin / model - 1| may be."""


@dataclass(frozen=True)
class Job:
    """The kernels of one type on one architecture, and the cards that have rows of them."""

    architecture: str
    kind: str
    unit: GemmUnit
    cards: tuple[str, ...]
    library: str = "pytorch-2.11"
    section: str = "gemm"
    loads: int = ALIGNED_BYTES
    sparse24: bool = False

    @property
    def name(self) -> str:
        return f"{self.architecture}.{self.kind}" + ("_wo" if self.section == WIDENED else "")

    @property
    def file(self) -> Path:
        return ROOT / f"hw_models/kernels/{self.library}/{self.architecture}.yaml"

    @property
    def kernel(self) -> GpuTileKernel:
        """The kernel as its library's file has it."""
        found: object = read_library(self.library, self.architecture)
        for name in (self.section, *self.kind.split(".")):
            found = found[name] if isinstance(found, dict) else getattr(found, name)
        assert isinstance(found, GpuTileKernel)
        return found

    def card(self, part: GpuPart) -> TileCard:
        """A card as the kernels see it."""
        card = tile_card(self.unit, gemm_machine(part))
        return card._replace(core=card.core._replace(flops=2.0 * card.core.flops)) if self.sparse24 else card

    @property
    def derived(self) -> bool:
        """Whether the kernels keep what the 16-bit ones say of the card."""
        return self.kind != "half" and self.section != WIDENED

    @property
    def measured(self) -> bool:
        """Whether the rates of the cards are those of their parts; those of tables alone are fitted."""
        return self.architecture == "hopper" or self.section == WIDENED


WIDENED = "weight_only"
JOBS = (
    Job("hopper", "half", GemmUnit.HALF, ("h100", "h200")), Job("hopper", "fp8", GemmUnit.BYTE, ("h100", "h200")),
    Job("hopper", "fp8_row", GemmUnit.BYTE_ROW, ("h100", "h200")),
    Job("hopper", "fp8_block", GemmUnit.BYTE_BLOCK, ("h200",)),
    Job("hopper", "int8", GemmUnit.INT8, ("h100", "h200")), Job("hopper", "fp32", GemmUnit.FP32, ("h100", "h200")),
    Job("hopper", "tf32", GemmUnit.TF32, ("h200",)),
    *(Job("hopper", f"unaligned.{name}", unit, ("h200",), loads=loads) for name, (unit, loads) in UNALIGNED.items()),
    *(Job("hopper", f"sparse24.{name}", unit, ("h200",), sparse24=True) for name, unit in SPARSE24_UNITS.items()),
    Job("ampere", "half", GemmUnit.HALF, ("a100",)), Job("ada", "half", GemmUnit.HALF, ("l40s",)),
    Job("blackwell", "half", GemmUnit.HALF, ("b200",)),
    *(Job(architecture, kind, unit, (card,), "trtllm-1.2", WIDENED)
      for architecture, card in (("hopper", "h200"), ("ampere", "a100"), ("ada", "l40s"))
      for unit, kind in WEIGHT_ONLY.items()),
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """GEMMs of one file.

    ``launch``: what a kernel takes more there; ``speed``: rate over that which the power limit allows for ever;
    ``rested``: what a rest adds to it. ``free``: launch and speed are fitted. ``seen``: outputs and tokens of the tile
    that a profile has seen for each GEMM.
    """

    name: str
    card: str
    shapes: GemmShapes
    seconds: Floats
    load: Floats
    weight: float
    free: bool
    rested: float
    launch: float = 0.0
    speed: float = 1.0
    seen: tuple[tuple[int, int] | None, ...] = ()

    def families(self, kernel: TileKernel) -> NDArray[np.int64]:
        """Row of the tile table that a profile has seen for each GEMM, -1 for none."""
        places = {(fixed, most): i for i, (_, fixed, most, *_) in enumerate(kernel.part.tiles.rows)}
        return np.array([places.get(tile, -1) if tile else -1 for tile in self.seen or (None,) * len(self.seconds)])

    @property
    def groups(self) -> NDArray[np.str_]:
        return np.array([f"{n}x{k}" for n, k in zip(self.shapes.n, self.shapes.k, strict=True)])


def part_of(card: str) -> GpuPart:
    part = load_hardware(PARTS[card])
    assert isinstance(part, GpuPart)
    return part


def burst(part: GpuPart) -> float:
    """What a rest adds to the rate that the power limit allows for ever."""
    known = part.power.burst
    return 0.0 if known is None else known.rate.si / part.gemm.half.sustained.si - 1.0


def own_source(job: Job, name: str, card: str, path: Path, free: bool, weight: float) -> Source | None:
    """Rows of a job in a file of ours; None where there are none."""
    unit, rows = job.unit, [row for row in read_measurements(path) if row.section in SECTIONS and _plain(row)]
    if not rows:
        return None
    shapes = gemm_shapes(rows)
    chosen = np.flatnonzero(
        (shapes.unit == unit) & (alignment(shapes) == job.loads) & (shapes.sparse24 == job.sparse24)
        & ((shapes.m > MATRIX_VECTOR_TOKENS) | (unit is not GemmUnit.FP32))
        & ((shapes.m > 1) | (shapes.batch > 1) | (unit is not GemmUnit.HALF) | (job.loads == ALIGNED_BYTES))
    )  # fmt: skip
    seconds = np.array([row.number("s") for row in rows])
    calls = np.array([REPLAYS * row.whole("calls") if "calls" in row.fields else np.inf for row in rows])
    if not len(chosen):
        return None
    load = (calls * seconds)[chosen]
    if job.sparse24:
        shapes = replace(shapes, weight_share=np.full(len(shapes.m), stored_24(8.0)))
    seen = tuple(_tile_of(rows[i]) for i in chosen)
    return Source(name, card, shapes.take(chosen), seconds[chosen], load, weight, free, burst(part_of(card)), seen=seen)


def _tile_of(row: Measurement) -> tuple[int, int] | None:
    """Outputs and tokens of the tile that the row's profile names; None without one."""
    for name in map(str, row.fields.get("kernels", ())):
        if found := re.search(r"(?:cutlass_\w*?_|tilesize)(\d+)x(\d+)[_x]\d", name):
            return int(found[1]), int(found[2])
        if known := next((tile for narrow, tile in NARROW.items() if narrow in name), None):
            return known
    return None


def _plain(row: Measurement) -> bool:
    known = str(row.fields.get("dtype")).removeprefix("torch.") in NARROWED
    return known and (row.section != "quant" or row.fields.get("op") in QUANTIZED)


def table_source(card: str, folder: Path, share: float, widened: str = "", rest: bool = False) -> Source:
    """A share of the rows of a public table, or the ``rest``; of weights of type ``widened`` where one is given."""
    rows = read_table(folder / f"{WIDENED_TABLE if widened else TABLES[card]}.csv.gz")
    if widened:
        rows = [row for row in rows if row.fields["gpu"] == card and row.fields["gemm_dtype"] == f"{widened}_wo"
                and row.whole("m") > VECTOR_TOKENS]  # fmt: skip
    order = np.random.default_rng(0).permutation(len(rows))
    cut = round(share * len(rows))
    rows = [rows[i] for i in sorted(order[cut:] if rest else order[:cut])]
    seconds = np.array([row.number("s") for row in rows])
    load = np.array([np.inf if "power" in row.fields else SHORT_RUN * row.number("s") for row in rows])
    limited = part_of(card).power.burst is not None
    launch = (PROFILED_S[card] if widened else LAUNCH_S) * 1e6
    return Source(f"{card} table", card, table_shapes(rows), seconds, load, ROWS["table"] / len(rows), False,
                  RESTED if limited else 0.0, launch, UNSET if limited else 1.0)  # fmt: skip


def own_sources(job: Job, second: Path, more: Sequence[Path] = ()) -> list[Source]:
    """Our files of a job; the first is the one whose conditions are the model's own."""
    found = [
        own_source(job, f"h200 {kind}", "h200", DATA / f"{kind}_{OWN['h200']}.jsonl", False, ROWS["random"])
        for kind in ("random", "models")
    ]
    found += [own_source(job, "h200 second", "h200", second, False, ROWS["second"])]
    found += [own_source(job, f"h200 {path.stem}", "h200", path, False, ROWS["more"]) for path in more]
    found += [
        own_source(job, f"{card} {kind}", card, DATA / f"{kind}_{OWN[card]}.jsonl", kind != "lowp_sparse24", 1.0)
        for card in job.cards for kind in ("probe", "probe_shapes", "lowp_sparse24")
        if (DATA / f"{kind}_{OWN[card]}.jsonl").exists()
    ]  # fmt: skip
    return [source for source in found if source is not None]


def table_sources(job: Job, tables: Path, share: float, rest: bool = False) -> list[Source]:
    """The tables of a job."""
    if job.section == WIDENED:
        return [table_source(job.cards[0], tables, share, job.kind, rest)]
    return [table_source(card, tables, share, rest=rest) for card in job.cards if job.kind == "half"]


class Point:
    """What a fit moves: logarithms of numbers, the columns of the tile table, rates of cards, conditions of files."""

    def __init__(self, job: Job, kernel: TileKernel, sources: Sequence[Source], start: Values | None) -> None:
        parts = [part_of(card) for card in job.cards]
        self.given = {name: value for name, value in values_of(kernel.part).items() if name in GIVEN}
        tiles, self.drawn = len(kernel.part.tiles.rows), start is not None
        self._start, free = {name: torch.tensor(value) for name, value in START.items()}, set(START)
        if start is not None:
            self._start |= {name: start[name].clamp(min=LEAST) for name in START}
        if job.derived:
            free -= set(OF_CARD)
        self.logs = {name: value.log().clone().requires_grad_(name in free) for name, value in self._start.items()}
        same = start is not None and len(start["efficiency"]) == tiles
        self.anchor = {name: start[name] if same and start else torch.zeros(tiles) for name in BY_TILE}
        if same:
            self.anchor["efficiency"] = self.anchor["efficiency"].log()
        if job.derived:
            self.anchor |= {name: torch.zeros(tiles) for name in LEANING}
        leans = [name for name in BY_TILE if not job.derived or name not in LEANING]
        self.tiles = {name: value.clone().requires_grad_(name in leans) for name, value in self.anchor.items()}
        cards = [job.card(part) for part in parts]
        self.memory = torch.tensor([own.memory for own in cards]).log().requires_grad_(not job.measured)
        held = [job.kernel.sustained.si if job.sparse24 else own.sustained for own in cards]  # type: ignore[attr-defined]
        self.sustained = torch.tensor(held).log().requires_grad_(job.sparse24 or not job.measured)
        self.launch = torch.tensor([source.launch for source in sources], requires_grad=True)
        self.speed = torch.tensor([source.speed for source in sources]).log().requires_grad_(True)
        self.rested = torch.tensor([source.rested for source in sources])
        self.conditions = torch.tensor([float(source.free) for source in sources])

    def values(self) -> Values:
        found = {name: log.exp().clamp(max=MOST.get(name, torch.inf)) for name, log in self.logs.items()}
        found |= {"memory": self.memory.exp().clamp(max=0.96), "sustained": self.sustained.exp()}
        found |= {"source_launch": self.launch, "source_speed": self.speed.exp(), "rested": self.rested}
        return found | self.given | {**self.tiles, "efficiency": self.tiles["efficiency"].exp()}

    @property
    def moved(self) -> list[Tensor]:
        every = (*self.logs.values(), *self.tiles.values(), self.memory, self.sustained, self.launch, self.speed)
        return [each for each in every if each.requires_grad]

    def keep_conditions(self) -> None:
        """Drop the gradients of conditions that are given, and of what is not a number."""
        for each in (self.launch, self.speed):
            if each.grad is not None:
                each.grad *= self.conditions
        for each in self.moved:
            if each.grad is not None:
                each.grad.nan_to_num_(0.0)

    def pull(self) -> Tensor:
        """What it costs to leave the start."""
        tiles = sum(weight * ((self.tiles[name] - self.anchor[name]) ** 2).mean() for name, weight in PULL.items())
        free = self.conditions
        if self.drawn:
            tiles = tiles + 1e-3 * sum(((log - self._start[name].log()) ** 2) for name, log in self.logs.items())
        return tiles + 0.02 * (free * self.speed**2).sum() + 0.002 * (free * self.launch**2).sum()


@dataclass(frozen=True)
class Data:
    """All rows of a job: GEMMs, their tiles, and the weight shape of each."""

    gemms: Gemms
    tiling: Tiling
    groups: NDArray[np.str_]
    seen: Tensor

    @classmethod
    def of(cls, job: Job, kernel: TileKernel, sources: Sequence[Source], numbers: Sequence[int] | None = None) -> Data:
        """``numbers``: places of the conditions of ``sources``; theirs by default."""
        parts = []
        for number, source in zip(numbers or range(len(sources)), sources, strict=True):
            machine = gemm_machine(part_of(source.card))
            core = job.card(part_of(source.card)).core
            own = Gemms.of(source.shapes, core, machine.hbm_bytes_per_s, job.cards.index(source.card), number,
                           source.load, source.seconds)  # fmt: skip
            parts.append(replace(own, weight=own.weight * source.weight))
        gemms, seen = Gemms.together(parts), np.concatenate([source.families(kernel) for source in sources])
        groups = np.concatenate([source.groups for source in sources])
        return cls(gemms, Tiling.of(gemms, kernel), groups, torch.tensor(seen))

    def take(self, chosen: NDArray[np.bool_]) -> Data:
        place = torch.tensor(np.flatnonzero(chosen))
        return Data(self.gemms.take(place), self.tiling.take(place), self.groups[chosen], self.seen[place])


def fitted(point: Point, data: Data, steps: int, rate: float = RATE) -> Values:
    """Values of least mean |log error|."""
    draws = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(point.moved, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=rate, total_steps=steps, pct_start=0.1)
    weights = data.gemms.weight[:, 0]
    for _ in range(steps):
        drawn = torch.multinomial(weights, min(BATCH, len(weights)), generator=draws)
        own = data.gemms.take(drawn)
        tiling, values = data.tiling.take(drawn), point.values()
        off = modelled(own, tiling, values).log() - own.target[:, 0].log()
        loss = (off * off + 1e-4).sqrt().mean() + point.pull()
        loss = loss + SEEN * surprise(own, tiling, values, data.seen[drawn])
        adam.zero_grad()
        loss.backward()
        point.keep_conditions()
        torch.nn.utils.clip_grad_norm_(point.moved, CLIP)
        adam.step()
        schedule.step()
    return {name: value.detach() for name, value in point.values().items()}


def error(data: Data, values: Values) -> Floats:
    """Relative error of each row."""
    found = [
        modelled(data.gemms.take(chosen), data.tiling.take(chosen), values) / data.gemms.target[chosen, 0] - 1
        for chosen in torch.arange(len(data.groups)).split(1024)
    ]
    return np.asarray(torch.cat(found).double().numpy())


def report(title: str, sources: Sequence[Source], errors: Floats) -> None:
    """Mean errors by file, products off the step of 64 apart."""
    place = 0
    for source in sources:
        own = errors[place : place + len(source.seconds)]
        place += len(own)
        whole = (source.shapes.n % 64 == 0) & (source.shapes.k % 64 == 0)
        text = ", ".join(
            f"{name} {np.abs(own[part]).mean():.4f} ({part.sum()})"
            for name, part in (("all", whole | True), ("off 64", ~whole)) if part.any()
        )  # fmt: skip
        print(
            f"# {title} {source.name}: {text}, median {np.median(np.abs(own)):.4f}, bias {own.mean():+.4f}", flush=True
        )


def held_out(job: Job, kernel: TileKernel, sources: Sequence[Source], data: Data, start: Values | None, folds: int,
             steps: int) -> Floats:  # fmt: skip
    """Errors of rows whose weight shape was left out of the fit."""
    names = np.unique(data.groups)
    order = np.random.default_rng(1).permutation(len(names)) % folds
    fold = dict(zip(names, order, strict=True))
    place, found = np.array([fold[name] for name in data.groups]), np.empty(len(data.groups))
    for own in range(folds):
        values = fitted(Point(job, kernel, sources, start), data.take(place != own), steps)
        found[place == own] = error(data.take(place == own), values)
    return found


def agree(job: Job, kernel: TileKernel, source: Source, data: Data, values: Values) -> None:
    """Raises SystemExit where the fitted twin and the model with the printed numbers differ."""
    neutral = {**values, "source_launch": 0 * values["source_launch"], "rested": 0 * values["rested"],
               "source_speed": torch.ones_like(values["source_speed"])}  # fmt: skip
    place = data.gemms.source[:, 0].numpy() == 0
    twin = modelled(data.take(place).gemms, data.take(place).tiling, neutral).double().numpy() / 1e6
    number = job.cards.index(source.card)
    card = job.card(part_of(source.card))
    rates = {name: float(values[name][number]) for name in ("memory", "sustained")}
    model = tile_kernel_seconds(source.shapes, card._replace(**rates), kernel_of(kernel.part, values)).latency_s
    if (off := np.abs(twin / model - 1).mean()) > AGREEMENT:
        raise SystemExit(f"{job.name}: twin and model differ by {off:.2%}")


def start_of(job: Job, resumed: bool) -> Values | None:
    """Where kernels of other types than 16 bits start: the 16-bit ones as the library's file has them.

    ``resumed``: where they are in the file.
    """
    if resumed:
        return values_of(job.kernel)
    if not job.derived:
        return None
    half = read_library(job.library, job.architecture).gemm.half
    return None if half is None else values_of(half)


def run(job: Job, args: argparse.Namespace) -> None:
    """Fit a job, print its errors, and print or write its YAML."""
    own = own_sources(job, args.second, args.more) if job.architecture == "hopper" and job.section != WIDENED else []
    sources = [*own, *table_sources(job, args.tables, args.share)]
    kernel = TileKernel.of(job.kernel)
    data, start = Data.of(job, kernel, sources), start_of(job, args.resume)
    values = fitted(Point(job, kernel, sources, start), data, args.steps, args.rate)
    if job.sparse24:
        values["sustained"] = values["sustained"][:1]
    agree(job, kernel, sources[0], data, values)
    report(f"{job.name} in sample", sources, error(data, values))
    rest = table_sources(job, args.tables, args.share, rest=True)
    if rest and args.share < 1:
        names = [source.name for source in sources]
        other = Data.of(job, kernel, rest, [names.index(source.name) for source in rest])
        report(f"{job.name} rows not fitted", rest, error(other, values))
    if args.folds and own:
        report(
            f"{job.name} held out", sources, held_out(job, kernel, sources, data, start, args.folds, args.steps // 2)
        )
    for number, source in enumerate(sources):
        conditions = (float(values[name][number]) for name in ("source_launch", "source_speed", "rested"))
        print(f"# {source.name}: launch, speed, rested", *(f"{value:.3f}" for value in conditions))
    rates = {card: {name: float(values[name][i]) for name in ("memory", "sustained")} for i, card in
             enumerate(job.cards)}  # fmt: skip
    text = section_of(job.kind, kernel.part, values)
    print(f"# rates: {rates}", flush=True)
    if args.write:
        write_section(job.file, job.section, job.kind, text)
        for card in () if job.measured else job.cards:
            write_rates(ROOT / f"hw_models/{PARTS[card]}.yaml", rates[card])
    else:
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of gemm_perf tables as CSV")
    parser.add_argument("--second", type=Path, required=True, help="rows of random shapes of an H200")
    parser.add_argument("--more", type=Path, action="append", default=[], help="further rows of random shapes")
    parser.add_argument(
        "--only", default="", help="jobs whose name holds this; others than 16-bit ones start from those in the file"
    )
    parser.add_argument("--resume", action="store_true", help="start from the numbers in the library's file")
    parser.add_argument("--rate", type=float, default=RATE, help="largest step of Adam")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.7, help="share of the rows of a table that is fitted")
    parser.add_argument("--folds", type=int, default=5, help="0: no held-out errors")
    parser.add_argument("--write", action="store_true", help="replace sections of hw_models")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for job in JOBS:
        if args.only in job.name:
            run(job, args)


if __name__ == "__main__":
    main()
