# SPDX-License-Identifier: Apache-2.0
"""All sections, written as they come."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .energy import energy, power
from .gemm import gemm_dense, gemm_fp32, gemm_sparse24, lowp, lowp_sparse24
from .layers import offload, weight_stream
from .memory import attn, launch, mem, pcie
from .timing import RowDict

SECTIONS: dict[str, Callable[[], Iterator[RowDict]]] = {
    "launch": launch, "mem": mem, "pcie": pcie, "attn": attn, "offload": offload, "weight_stream": weight_stream,
    "power": power, "energy": energy, "gemm_fp32": gemm_fp32, "lowp": lowp, "lowp_sparse24": lowp_sparse24,
    "gemm_dense": gemm_dense, "gemm_sparse24": gemm_sparse24,
}  # fmt: skip


def measure(out: Path, sections: list[str], limit_s: float, say: Callable[[str], object]) -> int:
    """Write the rows of ``sections`` to ``out`` as they come; stop at ``limit_s``. Returns their number.

    ``say`` is told of each section that is done.
    """
    import torch

    props = torch.cuda.get_device_properties(0)
    began = time.perf_counter()
    rows = 0
    with out.open("w") as f:
        env = {"section": "env", "kind": "props", "name": props.name, "sms": props.multi_processor_count,
               "mem": props.total_memory, "l2": props.L2_cache_size, "torch": torch.__version__,
               "cuda": torch.version.cuda}  # fmt: skip
        f.write(json.dumps(env) + "\n")
        for name in sections:
            start = time.perf_counter()
            for row in SECTIONS[name]():
                f.write(json.dumps(row) + "\n")
                f.flush()
                rows += 1
                if time.perf_counter() - began > limit_s:
                    return rows
            say(f"{name}: {time.perf_counter() - start:.1f} s, {rows} rows in all")
            torch.cuda.empty_cache()
    return rows


def main() -> None:
    """The command line of the folder alone."""
    parser = argparse.ArgumentParser(description="Measure a GPU.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--limit-s", type=float, default=3600.0)
    args = parser.parse_args()
    measure(args.out, args.sections.split(","), args.limit_s, print)
