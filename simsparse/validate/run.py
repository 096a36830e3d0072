# SPDX-License-Identifier: Apache-2.0
"""Compare measured rows with the models, section by section."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from simsparse.config.hardware import System, load_system
from simsparse.config.parts.cpu import CpuPart
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.link import LinkPart
from simsparse.core import DType
from simsparse.core.table import TABLE, is_frame
from simsparse.devices.gpu import Gpu
from simsparse.errors import SpecError
from simsparse.paths import data_root
from simsparse.validate.blocks import predict_blocks
from simsparse.validate.chosen_rows import predict_contextual
from simsparse.validate.collectives import predict_collectives
from simsparse.validate.comparison import Prediction, SectionReport, ValidationReport
from simsparse.validate.contention import predict_contention
from simsparse.validate.expert_cache import predict_expert_caches
from simsparse.validate.gemms import predict_gemms
from simsparse.validate.host_rows import predict_host
from simsparse.validate.hosts import FACTS, HostModels
from simsparse.validate.kernel_rows import conv_op, predict_kernels, predict_spmm, predict_zerocopy
from simsparse.validate.kernels import (
    linear_op,
    predict_attention,
    predict_copies,
    predict_energy,
    predict_launches,
    predict_ops,
    predict_power,
)  # fmt: skip
from simsparse.validate.layers import host_system, predict_offload, predict_weight_stream
from simsparse.validate.measurement import Measurement, measurements, read_measurements
from simsparse.validate.overlap import predict_overlap
from simsparse.validate.parallel_rows import predict_layers
from simsparse.validate.puts import predict_puts
from simsparse.validate.serve_rows import predict_serving, serving_sections
from simsparse.validate.sparse_rows import predict_grouped, predict_sparse_attention
from simsparse.validate.tables import is_table, read_table
from simsparse.validate.tables.attention import predict_attention_table
from simsparse.validate.tables.compressed import SECTIONS as COMPRESSED
from simsparse.validate.tables.compressed import predict_compressed_table
from simsparse.validate.tables.energy import predict_token_energy
from simsparse.validate.tables.gemm import predict_gemm_table, predict_widened_table
from simsparse.validate.tables.latent import predict_latent_table
from simsparse.validate.tables.moe import predict_moe_table
from simsparse.validate.tables.serving import TPOT, TTFT, predict_serving_table
from simsparse.validate.tables.serving_simulators import MEASURES as OTHERS
from simsparse.validate.tables.serving_simulators import errors_of_simulators, predict_simulated_stages
from simsparse.validate.tables.serving_stages import E2E, FIRST, predict_serving_stages
from simsparse.validate.tables.sparse_prompts import predict_sparse_prompts
from simsparse.validate.whole_models import predict_whole_models

if TYPE_CHECKING:
    import pandas as pd

LATENT_SECTIONS = ("mla_context_table", "mla_generation_table", "dsa_context_table", "dsa_generation_table")
"""Sections whose rows are layers of latent attention."""
TOLERANCES: Mapping[str, float] = {
    "conv2d": 0.15, "elementwise": 0.10, "norm": 0.10, "softmax": 0.10, "reduce": 0.15, "gather": 0.10, "spmm": 0.20,
    "zerocopy": 0.08, "gemm_dense": 0.10, "gemm_sparse24": 0.20, "gemm_fp32": 0.25, "gemm_tf32": 0.15, "lowp": 0.15,
    "lowp_sparse24": 0.15, "bmm": 0.25, "gemm_hot": 0.15, "quant": 0.15, "gemm_table": 0.10,
    "weight_only_table": 0.15, "attn_decode": 0.10,
    "attn_prefill": 0.10, "grouped_gemm": 0.12, "sparse_attn": 0.10, "contextual": 0.10, "attn_table_context": 0.12,
    "attn_table_generation": 0.12, **dict.fromkeys(LATENT_SECTIONS, 0.12), "sparse_prompt_table": 0.12,
    **dict.fromkeys(COMPRESSED, 0.12),
    "moe_table": 0.15,
    "mem": 0.20, "launch": 0.25, "pcie": 0.15, "pcie_small": 0.60,
    "power": 0.10, "energy": 0.20, "energy_tokens": 0.20, "offload": 0.10, "weight_stream": 0.10,
    "expert_cache": 0.10, "e2e": 0.10, "blocks": 0.10, "cpu": 0.25, "contention": 0.25,
    "nccl": 0.10, "nccl_table": 0.12, "nccl_apex": 0.12,
    "cpu_sparse": 0.20, "cpu_kernels": 0.15, "tp_layer": 0.10, "ep_moe": 0.10, "ep_skew": 0.12,
    "puts_table": 0.25, "puts_nodes": 0.25, "overlap_table": 0.25,
    "serve_steps": 0.06, "serve_ttft": 0.06, "serve_tpot": 0.06, "serve_p99": 0.20, "serve_loaded_ttft": 0.20,
    "serve_loaded_tpot": 0.20, TPOT: 0.15, TTFT: 0.30, E2E: 0.15, FIRST: 0.30,
    **dict.fromkeys(OTHERS, 0.15), "serving_others_ttft": 0.30,
}  # fmt: skip
"""Mean absolute percentage error, as a share, that each section must stay within."""
KERNEL_SECTIONS = ("elementwise", "norm", "softmax", "reduce", "gather", "mem")
"""Sections whose rows are kernels that only need their own bytes and shape."""
GEMM_SECTIONS = ("gemm_dense", "gemm_fp32", "gemm_tf32", "gemm_hot", "lowp", "lowp_sparse24", "bmm", "quant")
"""Sections whose rows are one dense GEMM in a loop over sets of buffers."""
OVER_GPUS: Mapping[str, Callable[[System, Sequence[Measurement]], list[Prediction | str]]] = {
    **dict.fromkeys(("nccl", "nccl_table", "nccl_apex"), predict_collectives),
    **dict.fromkeys(("puts_table", "puts_nodes"), predict_puts),
    "overlap_table": predict_overlap,
    **dict.fromkeys(("tp_layer", "ep_moe", "ep_skew"), predict_layers),
    **dict.fromkeys((TPOT, TTFT), predict_serving_table),
    **dict.fromkeys((E2E, FIRST), predict_serving_stages),
    **dict.fromkeys(OTHERS, predict_simulated_stages),
}
"""Sections of systems of several GPUs."""
SERVING_SECTIONS = ("serve_steps", "serve_ttft", "serve_tpot", "serve_p99", "serve_loaded_ttft", "serve_loaded_tpot")
"""Sections of measured serving; a run is a row of several."""
NOT_SIMULATED = (
    "env", "cpu_core",
)  # fmt: skip
"""Sections of the schema that no model here predicts."""
REFERENCES: Mapping[str, str] = {
    "h100_sxm5_80gb.jsonl": "gpu/h100-sxm5-80gb",
    "h200_sxm5_141gb.jsonl": "gpu/h200-sxm5-141gb",
    "h200_x2_nvlink.jsonl": "systems/h200-x2-nvlink",
    "rerun_h200_sxm5_141gb.jsonl": "gpu/h200-sxm5-141gb",
    "kept_h200_sxm5_141gb.jsonl": "gpu/h200-sxm5-141gb",
    "judge_attention_h200_sxm5_141gb.jsonl": "gpu/h200-sxm5-141gb",
    "expert_cache_h200_sxm5_141gb.jsonl": "gpu/h200-sxm5-141gb",
    "host_h200_sxm5_141gb.jsonl": "gpu/h200-sxm5-141gb",
    "serve_h200_sxm5_141gb.jsonl": "gpu/h200-sxm5-141gb",
}
"""Bundled files that no parameter was fitted to, and the part that each was measured on. Of the rows on two GPUs, calls
of some sizes gave the host's seconds, and copies of two sizes the rates of the link."""


def reference_folder() -> Path:
    """Where the bundled measurements lie: in a wheel's data, or in the checkout's tests."""
    root = data_root()
    bundled = root / "validation" / "gpu"
    return bundled if bundled.is_dir() else root / "tests" / "validation" / "data" / "gpu"


Predictor = Callable[[Sequence[Measurement]], list[Prediction | str]]
OnProgress = Callable[[int, int, int], None]
"""Called with rows done, all rows, and 0."""


def validate_references(progress: OnProgress | None = None) -> list[ValidationReport]:
    """Reports of all bundled reference files. Raises SpecError."""
    paths = {str(reference_folder() / name): hardware for name, hardware in REFERENCES.items()}
    rows = {path: read_measurements(path) for path in paths}
    shares = _Progress(progress, sum(map(len, rows.values())))
    return [_validate(rows[path], hardware, path, shares) for path, hardware in paths.items()]


def validate_file(path: str | Path | pd.DataFrame, hw: str, progress: OnProgress | None = None) -> ValidationReport:
    """Compare a JSON-lines file, a table as CSV, or a DataFrame of such rows, with the part ``hw``.

    Raises SpecError that names file and line.
    """
    if is_frame(path):
        rows = measurements(path)
        return _validate(rows, hw, TABLE, _Progress(progress, len(rows)))
    path = cast("str | Path", path)
    rows = read_table(path) if is_table(path) else read_measurements(path)
    return _validate(rows, hw, str(path), _Progress(progress, len(rows)))


def validate(rows: Iterable[Mapping[str, Any]] | pd.DataFrame, hw: str) -> ValidationReport:
    """Compare rows of the measurement schema with the part ``hw``. Raises SpecError."""
    checked = measurements(rows)
    return _validate(checked, hw, "rows", _Progress(None, len(checked)))


PIECE_S = 0.25
"""Seconds that a piece of a section's rows may take before the next piece is made no larger."""


class _Progress:
    """Counts rows over the sections and files of one validation."""

    def __init__(self, listener: OnProgress | None, total: int) -> None:
        self._listener, self._total, self._done = listener, total, 0

    def add(self, rows: int) -> None:
        self._done += rows
        if self._listener:
            self._listener(self._done, self._total, 0)

    def in_pieces(self, rows: Sequence[Measurement], predict: Predictor) -> list[Prediction | str]:
        """``predict`` of all rows, in pieces that double while they are fast: each row is predicted by itself."""
        found: list[Prediction | str] = []
        size = 16
        while len(found) < len(rows):
            piece = rows[len(found) : len(found) + size]
            began = time.monotonic()
            found += predict(piece)
            self.add(len(piece))
            size = 2 * size if time.monotonic() - began < PIECE_S else size
        return found


@dataclass(frozen=True)
class _Models:
    """The GPU's model, and the system and link that join it to a host where there are any.

    ``several``: the system that was measured, where that has more than one GPU.
    """

    gpu: Gpu
    system: System | None
    link: LinkPart | None
    several: System | None = None

    @classmethod
    def of(cls, hw: str) -> _Models:
        measured = load_system(hw)
        gpus = [part for part in measured.devices.values() if isinstance(part, GpuPart)]
        if not gpus:
            kinds = ", ".join(dict.fromkeys(part.kind for part in measured.devices.values()))
            raise SpecError(f"{measured.name} is a {kinds}; measurements are of GPUs and CPUs", key="hw")
        system = host_system(gpus[0])
        link = system.links[0].part if system else None
        several = measured if len(gpus) > 1 else None
        return cls(Gpu(gpus[0]), system, link if isinstance(link, LinkPart) else None, several)

    @property
    def name(self) -> str:
        """What was measured."""
        return self.several.name if self.several else self.gpu.part.name

    @property
    def host(self) -> CpuPart:
        """The host of the system. Raises StopIteration without one."""
        devices = self.system.devices.values() if self.system else ()
        return next(part for part in devices if isinstance(part, CpuPart))

    def predict(self, section: str, rows: Sequence[Measurement]) -> list[Prediction | str]:
        """Predictions in the order of ``rows``; in place of one that can't be made, the reason."""
        if section in self._of_card:
            return self._of_card[section](rows)
        if section in OVER_GPUS:
            if self.several is None:
                return ["measured on several GPUs; name their system"] * len(rows)
            return OVER_GPUS[section](self.several, rows)
        if self.system is None or self.link is None:
            return [f"no system joins {self.gpu.part.name} to a host"] * len(rows)
        if section in ("pcie", "pcie_small"):
            return predict_copies(self.link, self.gpu.part, rows)
        if section == "zerocopy":
            return predict_zerocopy(self.gpu, self.link, self.host, rows)
        if section == "cpu":
            return predict_host(self.system, rows)
        if section == "contention":
            return predict_contention(self.system, rows)
        if section == "expert_cache":
            return predict_expert_caches(self.system, rows)
        return (predict_offload if section == "offload" else predict_weight_stream)(self.system, rows)

    @cached_property
    def _of_card(self) -> Mapping[str, Predictor]:
        """What predicts the sections that need no host."""
        gpu, part = self.gpu, self.gpu.part
        op_of: Mapping[str, Callable[[Measurement], Any]] = {
            "gemm_sparse24": linear_op, "conv2d": conv_op,
        }  # fmt: skip
        return {
            **{section: partial(predict_ops, gpu, op_of=op) for section, op in op_of.items()},
            **{section: partial(predict_kernels, gpu) for section in KERNEL_SECTIONS},
            **{section: partial(predict_gemms, gpu) for section in GEMM_SECTIONS},
            **{section: partial(predict_attention, gpu) for section in ("attn_decode", "attn_prefill")},
            "gemm_table": partial(predict_gemm_table, gpu),
            "weight_only_table": partial(predict_widened_table, gpu),
            "grouped_gemm": partial(predict_grouped, gpu), "sparse_attn": partial(predict_sparse_attention, gpu),
            "contextual": partial(predict_contextual, gpu), "moe_table": partial(predict_moe_table, part),
            "attn_table_context": partial(predict_attention_table, part),
            "attn_table_generation": partial(predict_attention_table, part),
            **{section: partial(predict_latent_table, part) for section in LATENT_SECTIONS},
            **{section: partial(predict_compressed_table, part) for section in COMPRESSED},
            "sparse_prompt_table": partial(predict_sparse_prompts, part),
            "energy_tokens": partial(predict_token_energy, part),
            "e2e": partial(predict_whole_models, part), "blocks": partial(predict_blocks, part),
            "spmm": partial(predict_spmm, gpu),
            "launch": partial(predict_launches, part), "power": partial(predict_power, gpu),
            "energy": partial(predict_energy, gpu, self.link),
            **{section: partial(predict_serving, part, section) for section in SERVING_SECTIONS},
        }  # fmt: skip


def _models_of(hw: str) -> _Models | HostModels:
    parts = list(load_system(hw).devices.values())
    alone = parts[0] if len(parts) == 1 else None
    return HostModels(alone) if isinstance(alone, CpuPart) else _Models.of(hw)


def _validate(rows: Sequence[Measurement], hw: str, file: str, progress: _Progress) -> ValidationReport:
    models = _models_of(hw)
    by_section: dict[str, list[Measurement]] = {}
    for row in rows:
        for section in serving_sections(row) if row.section == "serve" else (_section_of(row),):
            by_section.setdefault(section, []).append(row)
    reports = [_report(name, models, by_section[name], progress) for name in TOLERANCES if name in by_section]
    left = {name: len(own) for name, own in by_section.items() if name not in TOLERANCES}
    progress.add(sum(left.values()))
    return ValidationReport(
        file, models.name, reports,
        {name: count for name, count in left.items() if name in NOT_SIMULATED},
        {name: count for name, count in left.items() if name not in NOT_SIMULATED},
    )  # fmt: skip


SMALL_COPY_BYTES = 1 << 20
"""Copies below this are bound by how fast the host issues them, which differs from host to host."""


def _section_of(row: Measurement) -> str:
    """The row's section; decode and prefill, and large and small copies over PCIe, are told apart."""
    if row.section == "attn":
        kinds = {
            "sdpa_decode": "attn_decode",
            "sdpa_prefill_causal": "attn_prefill",
            "sdpa_prefill_full": "attn_prefill",
        }
        return kinds.get(row.text("op"), f"attn: {row.text('op')}")
    if row.section == "gemm_fp32" and row.dtype() is DType.TF32:
        return "gemm_tf32"
    if row.section == "pcie" and row.whole("bytes") < SMALL_COPY_BYTES:
        return "pcie_small"
    return row.section


def _report(
    section: str, models: _Models | HostModels, rows: Sequence[Measurement], progress: _Progress
) -> SectionReport:
    outcome = progress.in_pieces(rows, partial(models.predict, section))
    predictions = [item for item in outcome if isinstance(item, Prediction)]
    reasons = Counter(item for item in outcome if isinstance(item, str))
    facts_of = errors_of_simulators if section in OTHERS else FACTS.get(section)
    facts = facts_of(predictions) if facts_of else {}
    return SectionReport(section, predictions, TOLERANCES[section], dict(reasons), facts)
