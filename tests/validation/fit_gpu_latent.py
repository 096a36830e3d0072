# SPDX-License-Identifier: Apache-2.0
"""Fit the kernels of latent attention to a public table of whole layers.

``python tests/validation/fit_gpu_latent.py TABLE`` prints YAML for hw_models/kernels/vllm-0.22/hopper.yaml and the mean
error of each section on rows that were not fitted. TABLE is dsa_mla by ai-dynamo/aiconfigurator (see
simsparse.validate.tables.latent), of which half of the rows were at hand; every second of these is fitted. The times of
all operators but attention and index come from the models of an H200 as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.core.kinds.key_index import KEY_INDEX
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_attention_kernels import attention_kernels
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_counts import GpuCounts
from simsparse.devices.gpu_key_index import KeyIndexes
from simsparse.devices.gpu_latent import LatentShapes, latent_seconds
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_table
from simsparse.validate.tables.latent import _layer

Floats = NDArray[np.float64]
LIBRARY = "vllm-0.22"
KERNEL = {"launch": (20.0, "us"), "row": (1.0, "ns"), "step": (3000.0, ""), "memory": (0.85, "")}
SPLIT = {"combine": (2.0, "us")}
WHOLE = {"unit": (4000.0, "")}
INDEX = {"launch": (60.0, "us"), "select": (18.0, "us"), "memory": (0.85, ""), "tensor": (0.4, "")}
ALONE = {"around": (40.0, "us"), "around_token": (10.0, "ns"), "host": (1200.0, "us")}
SHARES = ("memory", "tensor")
SCALE = {"us": 1e-6, "ns": 1e-9, "": 1.0}
PROMPT_HEADS = 32


@dataclass(frozen=True)
class Section:
    """Rows of one kind: seconds measured, new tokens, seconds of all other operators, the rows with attentions on
    latents, these, and the indexes if any."""

    name: str
    seconds: Floats
    tokens: Floats
    rest: Floats
    rows: NDArray[np.int64]
    latent: LatentShapes
    index: KeyIndexes | None


def section(name: str, rows: Sequence[Measurement], part: GpuPart) -> Section:
    """What a section's rows run besides latent attention and index, priced."""
    layers = [_layer(row) for row in rows]
    special = ("selected_attention", KEY_INDEX.name)
    plain = [
        [op for op in own if op.kind not in special and not (op.kind == "attention" and op.latent_kv)] for own in layers
    ]
    owner = np.repeat(np.arange(len(rows), dtype=np.int64), list(map(len, plain)))
    costs = Gpu(part).cost_arrays([op for own in plain for op in own])
    placed = [(i, op) for i, own in enumerate(layers) for op in own if op.kind == "selected_attention" or op.latent_kv]
    attentions = [op for _, op in placed]
    found = attention_kernels(attentions, GpuCounts(len(attentions)))
    indexes = [op for own in layers for op in own if op.kind == KEY_INDEX.name]
    tokens = [float(row.whole("batch_size") * row.whole("isl")) for row in rows]
    return Section(
        name,
        np.array([row.number("s") for row in rows]),
        np.array(tokens),
        np.asarray(np.bincount(owner, costs.latency_s, len(rows)), np.float64),
        np.array([i for i, _ in placed], np.int64),
        _merged(found, len(placed)),
        KeyIndexes.of(indexes[0].dtype, indexes) if indexes else None,
    )


def _merged(found: Any, rows: int) -> LatentShapes:
    """The shapes of all groups in the order of the rows."""
    columns = {}
    for key in LatentShapes.__dataclass_fields__:
        columns[key] = np.zeros(rows)
        for owner, kernel in found:
            columns[key][owner] = getattr(kernel.latent, key)
    return LatentShapes(**columns)


def models(values: Mapping[str, float]) -> Any:
    """Parameters by dotted name, as the library holds them."""
    root = SimpleNamespace(prompt_heads=SimpleNamespace(si=PROMPT_HEADS))
    for name, value in values.items():
        owner, _, key = name.rpartition(".")
        if owner and not hasattr(root, owner):
            setattr(root, owner, SimpleNamespace(unit=None, combine=None))
        setattr(getattr(root, owner) if owner else root, key, SimpleNamespace(si=value))
    return root


def predicted(own: Section, root: Any, part: GpuPart) -> Floats:
    """Seconds of each layer of a section."""
    card, total = Card.of(part), own.rest.copy()
    total[own.rows] += latent_seconds(own.latent, root, card).latency_s
    if own.index is not None:
        total += own.index.seconds(part.model_copy(update={"kernels": SimpleNamespace(latent=root)})).latency_s
    if own.name == "mla_context_table":
        total += root.around.si + root.around_token.si * own.tokens
    return np.maximum(total, root.host.si) if own.name == "dsa_context_table" else total


def start() -> dict[str, tuple[float, str]]:
    """Where the fit begins, and the unit of each parameter."""
    split = {**KERNEL, **SPLIT}
    kernels = {"whole_half": {**split, **WHOLE}, "whole_byte": {**split, **WHOLE}, "selected_half": split,
               "selected_byte": split, "prompt": KERNEL}  # fmt: skip
    return {
        **{f"{kernel}.{key}": value for kernel, own in kernels.items() for key, value in own.items()},
        **{f"index.{key}": value for key, value in INDEX.items()}, **ALONE,
    }  # fmt: skip


def main(table: str) -> None:
    part = load_hardware("gpu/h200-sxm5-141gb")
    assert isinstance(part, GpuPart)
    served = part.model_copy(update={"kernels": read_library(LIBRARY, part.architecture)})
    by_name: dict[str, list[Measurement]] = {}
    for row in read_table(table):
        by_name.setdefault(row.section, []).append(row)
    found = [section(name, rows, served) for name, rows in by_name.items()]
    begin = start()
    names = list(begin)
    scale = np.array([SCALE[begin[name][1]] for name in names])
    limit = np.array([0.98 if name.rpartition(".")[2] in SHARES else np.inf for name in names])

    def errors(guess: Floats, first: int) -> list[Floats]:
        root = models(dict(zip(names, guess * scale, strict=True)))
        return [(predicted(own, root, part) / own.seconds - 1)[first::2] for own in found]

    x0 = np.array([begin[name][0] for name in names])
    fit = least_squares(lambda guess: np.concatenate(errors(guess, 0)), x0, x_scale=x0, loss="soft_l1", f_scale=0.05,
                        bounds=(1e-9, limit))  # fmt: skip
    print_yaml(dict(zip(names, fit.x, strict=True)), begin)
    for own, left in zip(found, errors(fit.x, 1), strict=True):
        print(f"# {own.name}: {100 * np.abs(left).mean():.2f} % mean error, bias {100 * left.mean():+.2f} %, "
              f"{len(left)} rows left out")  # fmt: skip


def print_yaml(values: Mapping[str, float], begin: Mapping[str, tuple[float, str]]) -> None:
    """The library's section ``latent``."""
    print("latent:  # written by tests/validation/fit_gpu_latent.py")
    owner = ""
    for name, value in values.items():
        head, _, key = name.rpartition(".")
        if head != owner and head:
            print(f"  {head}:")
        owner, unit = head, begin[name][1]
        text = f"{float(f'{value:.4g}'):g} {unit}".strip()
        print(f"  {'  ' if head else ''}{key}: {{value: {text}, source: aic-latent-fit, basis: measured}}")
    print(f"  prompt_heads: {{value: {PROMPT_HEADS}, source: vllm-0.22, basis: standard}}")


if __name__ == "__main__":
    main(sys.argv[1])
