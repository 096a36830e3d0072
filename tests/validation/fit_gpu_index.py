# SPDX-License-Identifier: Apache-2.0
"""Fit the index of compressed keys to a public table of whole layers.

``python tests/validation/fit_gpu_index.py TABLE`` prints YAML for hw_models/kernels/vllm-0.24/hopper.yaml and the mean
error on rows that were not fitted. TABLE is csa_hca_msa by ai-dynamo/aiconfigurator (simsparse.validate.tables.
compressed), of which half of the rows were at hand; every second layer with an index is fitted. All other operators
are priced by the models of an H200 as they are.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.core.kinds.key_index import KEY_INDEX
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_key_index import KeyIndexes
from simsparse.validate.tables import read_table
from simsparse.validate.tables.compressed import LIBRARY, layer_of

START = {"launch": (20.0, "us"), "select": (10.0, "us"), "memory": (0.8, ""), "tensor": (0.5, "")}
SCALE = np.array([1e-6, 1e-6, 1.0, 1.0])
LIMIT = (np.inf, np.inf, 0.98, 0.98)


def main(table: str) -> None:
    part = load_hardware("gpu/h200-sxm5-141gb")
    assert isinstance(part, GpuPart)
    gpu = Gpu(part.model_copy(update={"kernels": read_library(LIBRARY, part.architecture)}))
    rows = [row for row in read_table(table) if row.section == "dsv4_csa_generation_table"]
    layers = [own for own in map(layer_of, rows) if isinstance(own, list)]
    kept = [i for i, own in enumerate(layers) if any(op.kind == KEY_INDEX.name for op in own)]
    indexes = [next(op for op in layers[i] if op.kind == KEY_INDEX.name) for i in kept]
    plain = [[op for op in layers[i] if op.kind != KEY_INDEX.name] for i in kept]
    owner = np.repeat(np.arange(len(kept)), [len(own) for own in plain])
    rest = np.bincount(owner, gpu.cost_arrays([op for own in plain for op in own]).latency_s)
    seconds, shapes = np.array([rows[i].number("s") for i in kept]), KeyIndexes.of(indexes[0].dtype, indexes)

    def errors(guess: np.ndarray) -> np.ndarray:
        values = dict(zip(START, (SimpleNamespace(si=value) for value in guess * SCALE), strict=True))
        latent = SimpleNamespace(index=SimpleNamespace(**values))
        own = shapes.seconds(part.model_copy(update={"kernels": SimpleNamespace(latent=latent)}))
        return np.asarray((rest + own.latency_s) / seconds - 1)

    x0 = np.array([value for value, _ in START.values()])
    fit = least_squares(
        lambda guess: errors(guess)[::2], x0, x_scale=x0, loss="soft_l1", f_scale=0.05, bounds=(0, LIMIT)
    )
    print("  index:")
    for (name, (_, unit)), value in zip(START.items(), fit.x, strict=True):
        print(
            f"    {name}: {{value: {f'{round(value, 4):.4g} {unit}'.strip()}, source: aic-index-fit, basis: measured}}"
        )
    found = np.abs(errors(fit.x))
    print(
        f"# mean error: {found[::2].mean():.1%} of {found[::2].size} fitted rows, {found[1::2].mean():.1%} of the rest"
    )


if __name__ == "__main__":
    main(sys.argv[1])
