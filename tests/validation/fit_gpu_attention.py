# SPDX-License-Identifier: Apache-2.0
"""Fit attention kernels: cuDNN's to our own measurements, serving engines' to public tables.

``python tests/validation/fit_gpu_attention.py [FOLDER]`` prints YAML for hw_models/kernels. The framework's attention
is fitted to the probe files, to the given half of the second set and to attn_shapes files, all cards of an architecture
together, and judged with a card left out. FOLDER holds tables of ai-dynamo/aiconfigurator (see fit_gpu_moe.py); half of
their rows were at hand; whole layouts (heads, key-value heads) are left out in turn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.devices import gpu_attention, gpu_attention_paged
from simsparse.devices.gpu_attention import AttentionShapes
from simsparse.devices.gpu_card import Card
from simsparse.probe.memory import attn_sets
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_table
from simsparse.validate.tables.attention import table_shapes

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/validation/data/gpu"
Floats = NDArray[np.float64]
PEAK = 989.4e12
Start = dict[str, tuple[float, float, float]]


def card(memory_bytes_per_s: float, l2_bytes: float) -> Card:
    """A Hopper card of which the models read these numbers only."""
    return Card(132, 1.83e9, 0, memory_bytes_per_s, 0, 0, 0, 0, l2_bytes, 0, 0, 0, 0)


CARDS = {"h100": card(3.35e12, 50 * 2**20), "h200": card(4.8e12, 60 * 2**20)}
SDPA_DECODE: Start = {
    "launch": (2.4e-6, 5e-7, 8e-6), "start": (7e-9, 1e-10, 5e-8), "ragged": (6e-7, 1e-8, 4e-6),
    "per_dim": (9e-9, 1e-10, 4e-8), "combine": (2.1e-6, 5e-7, 6e-6), "part": (3e-8, 1e-9, 3e-7),
    "step_64": (1300, 200, 9000), "step_128": (1700, 200, 9000), "step_256": (4000, 200, 20000),
    "away": (480, 10, 3000), "resident": (0.7, 0.2, 1.5), "beside": (0.13, 0.01, 1), "again": (100, 1, 400),
    "turnover": (3.3e-6, 1e-6, 9e-6), "memory": (0.95, 0.7, 0.98), "few.launch": (1.2e-6, 1e-7, 8e-6),
    "few.step_64": (1400, 100, 9000), "few.step_128": (1800, 100, 9000), "few.step_256": (3000, 100, 20000),
    "few.away": (330, 10, 3000),
}  # fmt: skip
SDPA_PREFILL: Start = {
    "launch": (4.8e-6, 1e-6, 9e-6), "per_dim": (6.5e-9, 1e-10, 4e-8), "softmax": (1400, 100, 4000),
    "wide": (5, 0.01, 30), "tensor": (1.4, 0.7, 1.6), "sustained": (0.67, 0.4, 1), "row": (600, 10, 5000),
    "row_dim": (0.5, 0.01, 20), "diagonal": (100, 1, 2000), "partial": (130, 1, 2000), "away": (2400, 10, 9000),
    "imbalance": (0.63, 0.1, 1.5), "memory": (0.78, 0.3, 0.98),
}  # fmt: skip
TILES: Start = {
    "unit_64": (3000, 200, 2e4), "unit_128": (4400, 200, 2e4), "step_64": (1700, 200, 1e4),
    "step_128": (1800, 200, 1e4), "window_64": (3000, 10, 2e4), "window_128": (1000, 10, 2e4),
}  # fmt: skip
PAGED_DECODE: Start = {
    "launch": (5e-6, 1e-6, 2e-5), "per_dim": (7e-9, 1e-10, 5e-8), "per_sequence": (1.5e-8, 1e-10, 1e-7),
    "combine": (3e-6, 5e-7, 8e-6), **{f"half.{key}": start for key, start in TILES.items()},
    **{f"byte.{key}": start for key, start in TILES.items()}, "head": (4, 0.1, 50), "queue": (1.5, 0.1, 10),
    "crowd": (0.75, 0.3, 1.5), "memory": (0.92, 0.6, 0.96), "resident": (0.6, 0.1, 1.5),
}  # fmt: skip
PAGED_PREFILL: Start = {
    "launch": (8e-6, 1e-6, 2e-5), "per_sequence": (5e-9, 1e-10, 1e-7),
    **{f"half.{key}": start for key, start in TILES.items()}, "packed": (1500, 10, 1e4), "window_step": (1, 0.5, 2),
    "imbalance": (0.3, 0.05, 1), "query": (1, 0.05, 10), "key": (1, 0.05, 20),
}  # fmt: skip
WEIGHTS = {"probe": 0.5, "attn": 1.0}
"""How much a row counts in the fit, by the start of its file's name; other files judge."""
UNITS = {
    **dict.fromkeys(("launch", "ragged", "combine", "turnover"), "us"),
    **dict.fromkeys(("start", "part", "per_dim", "per_sequence"), "ns"),
}
SCALE = {"us": 1e6, "ns": 1e9, "": 1.0}


@dataclass(frozen=True)
class Data:
    """Operators, the card of each, their seconds, and how much each counts."""

    shapes: AttentionShapes
    cards: NDArray[np.str_]
    seconds: Floats
    weights: Floats

    def take(self, chosen: NDArray[Any]) -> Data:
        columns = {field.name: getattr(self.shapes, field.name)[chosen] for field in fields(self.shapes)}
        return Data(AttentionShapes(**columns), self.cards[chosen], self.seconds[chosen], self.weights[chosen])

    @property
    def card(self) -> Card:
        """All cards as one, whose memory bandwidth is an array."""
        rates = [CARDS[name] for name in self.cards]
        bandwidth = np.array([own.memory_bytes_per_s for own in rates])
        return replace(CARDS["h100"], memory_bytes_per_s=bandwidth, l2_bytes=np.array([own.l2_bytes for own in rates]))


Model = Callable[[AttentionShapes, Any, Card], Floats]


def sdpa_decode(shapes: AttentionShapes, model: Any, own: Card) -> Floats:
    return gpu_attention.decode_seconds(shapes, model, own).latency_s


def sdpa_prefill(shapes: AttentionShapes, model: Any, own: Card) -> Floats:
    model.mask = SimpleNamespace(si=0.0)  # no row has a mask
    return gpu_attention.prefill_seconds(shapes, model, own, np.full(len(shapes.batch), PEAK)).latency_s


def paged_decode(shapes: AttentionShapes, model: Any, own: Card) -> Floats:
    return gpu_attention_paged.decode_seconds(shapes, model, own).latency_s


def paged_prefill(shapes: AttentionShapes, model: Any, own: Card) -> Floats:
    return gpu_attention_paged.prefill_seconds(shapes, model, own).latency_s


JUDGES = ("attention", "judge")
"""Starts of the names of files that are not fitted and judge the fit."""


def own_rows(weights_of: dict[str, float]) -> Data:
    """Our measurements of the framework's attention in files whose names start so."""
    rows, cards, weights = [], [], []
    for path in sorted(DATA.glob("*.jsonl")):
        name = next((name for name in CARDS if name in path.stem), "")
        if not name or path.stem.split("_")[0] not in weights_of:
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.get("section") in ("attn", "sparse_attn") and str(row.get("op")).startswith("sdpa"):
                rows.append(row)
                cards.append(name)
                weights.append(weights_of[path.stem.split("_")[0]])
    return Data(own_shapes(rows), np.array(cards), np.array([row["s"] for row in rows]), np.array(weights))


def own_shapes(rows: Sequence[dict[str, Any]]) -> AttentionShapes:
    column = {key: np.array([float(row[key]) for row in rows]) for key in ("B", "H", "KV", "D", "L")}
    decode = np.array([row["op"] == "sdpa_decode" for row in rows])
    same = np.ones(len(rows))
    return AttentionShapes(
        column["B"], column["H"], column["KV"], column["D"], column["D"], np.where(decode, 1.0, column["L"]),
        column["L"], np.array([float(not row["op"].endswith("full")) for row in rows]), 2 * same, 2 * same,
        2 * column["D"], 0 * same, np.array([sets_of(row) for row in rows]),
    )  # fmt: skip


def sets_of(row: dict[str, Any]) -> float:
    """Sets of operands that a row's kernel took in turns; of rows without a count, as many as the probe makes."""
    cache = 4 * row["B"] * row["KV"] * row["D"] * row["L"]
    return float(row.get("copies") or attn_sets(cache))


def table(path: Path, name: str) -> Data:
    """A public table of card ``name``."""
    rows: list[Measurement] = read_table(path)
    seconds = np.array([row.number("s") for row in rows])
    return Data(table_shapes(rows), np.full(len(rows), name), seconds, np.ones(len(rows)))


def model_of(values: dict[str, float]) -> Any:
    found: dict[str, Any] = {}
    for key, value in values.items():
        outer, _, inner = key.rpartition(".")
        (found.setdefault(outer, {}) if outer else found)[inner] = SimpleNamespace(si=value)
    return SimpleNamespace(**{
        key: SimpleNamespace(**value) if isinstance(value, dict) else value for key, value in found.items()
    })  # fmt: skip


def fitted(data: Data, start: Start, model: Model, scale: float, pull: float = 0.02) -> dict[str, float]:
    names = list(start)
    first, least, most = (np.log([start[name][i] for name in names]) for i in range(3))
    pull *= np.sqrt(len(data.seconds) / 1000)
    own = data.card

    def residuals(point: Floats) -> Floats:
        values = dict(zip(names, np.exp(point), strict=True))
        off = data.weights * np.log(model(data.shapes, model_of(values), own) / data.seconds)
        return np.concatenate([off, pull * (point - first)])

    found = least_squares(residuals, first, loss="soft_l1", f_scale=scale, bounds=(least, most), max_nfev=60)
    return dict(zip(names, np.exp(found.x), strict=True))


def error(data: Data, values: dict[str, float], model: Model) -> Floats:
    return np.abs(model(data.shapes, model_of(values), data.card) / data.seconds - 1)


def print_yaml(values: dict[str, float], source: str, indent: int) -> None:
    last = ""
    for key, value in values.items():
        outer, _, inner = key.rpartition(".")
        if outer not in ("", last):
            print(f"{' ' * indent}{outer}:")
        last, unit = outer, UNITS.get(inner, "")
        text = f"{value * SCALE[unit]:.4g}" + (f" {unit}" if unit else "")
        print(f"{' ' * (indent + 2 * bool(outer))}{inner}: {{value: {text}, source: {source}, basis: measured}}")


def fit_own(name: str, data: Data, judge: Data, start: Start, model: Model) -> None:
    values = fitted(data, start, model, 0.05)
    off = error(data, values, model)
    print(f"# {name}: {len(data.seconds)} rows, mean {off.mean():.4f}")
    for left in CARDS:
        train, test = data.take(data.cards != left), data.take(data.cards == left)
        off = error(test, fitted(train, start, model, 0.05), model)
        print(f"#   {left} left out: {off.mean():.3f}")
    for number, kind in enumerate(JUDGES):
        off = error(judge.take(judge.weights == number), values, model)
        print(f"#   {kind}_*, not fitted: {off.mean():.4f}, median {np.median(off):.4f} ({len(off)})")
    print_yaml(values, "attention-fit", 4)


def fit_table(name: str, data: Data, start: Start, model: Model) -> dict[str, float]:
    some = data.take(np.random.default_rng(0).permutation(len(data.seconds))[:6000])
    values = fitted(some, start, model, 0.1)
    layout = (data.shapes.heads * 131 + data.shapes.kv_heads).astype(int) % 5
    held = [
        error(
            data.take(layout == fold), fitted(data.take(np.flatnonzero(layout != fold)[::4]), start, model, 0.1), model
        )
        for fold in range(5)
    ]
    off = error(data, values, model)
    print(f"# {name}: {len(off)} rows, mean {off.mean():.3f}, median {np.median(off):.3f}, layouts left out "
          f"{np.concatenate(held).mean():.3f}", flush=True)  # fmt: skip
    print_yaml(values, "aic-attention-fit", 6)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    args = parser.parse_args()
    data, judge = own_rows(WEIGHTS), own_rows({kind: number for number, kind in enumerate(JUDGES)})
    one, own = data.shapes.q_len == 1, judge.shapes.q_len == 1
    fit_own("sdpa decode", data.take(one), judge.take(own), SDPA_DECODE, sdpa_decode)
    fit_own("sdpa prefill", data.take(~one), judge.take(~own), SDPA_PREFILL, sdpa_prefill)
    if args.folder is None:
        return
    found: dict[str, dict[str, float]] = {}
    for name, suffix in (("h200", "_power"), ("h100", "")):
        tables = [
            table(args.folder / f"aic_attn_{kind}_{name}{suffix}.csv.gz", name) for kind in ("generation", "context")
        ]
        found[name] = fit_table(f"{name} paged decode", tables[0], PAGED_DECODE, paged_decode)
        many = tables[1].take(tables[1].shapes.q_len > 1)
        found[f"{name} prefill"] = fit_table(f"{name} paged prefill", many, PAGED_PREFILL, paged_prefill)
        if name == "h100":
            moved = error(tables[0], found["h200"], paged_decode), error(many, found["h200 prefill"], paged_prefill)
            print(f"# h100 with h200's values: decode {moved[0].mean():.3f}, prefill {moved[1].mean():.3f}")


if __name__ == "__main__":
    main()
