# SPDX-License-Identifier: Apache-2.0
"""Remakes the traces that the project carries: ``python -m simsparse.models.remake [NAME ...] [--out traces]``.

The same versions of torch and transformers give the same bytes; manifest.json says which those were.
Of trained weights, sums in floating point depend on the CPU too: shares of zeros in activations and
accuracies may differ in their last digits, and tiny-moe, which is trained anew for five minutes, may
route some tokens otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simsparse.core import Trace
from simsparse.errors import SimsparseError, TraceError, nearest
from simsparse.models.by_name import extract
from simsparse.trace.file import save_trace, trace_text
from simsparse.trace.routing import data_folder

TINY_MOE = "tiny-moe"
_FORWARD = {"phase": "forward"}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "llama2-7b-prefill": {"model": "llama2-7b", "phase": "prefill", "batch": 1, "seq": 2048},
    "llama2-7b-decode-b1": {"model": "llama2-7b", "phase": "decode", "batch": 1, "kv_len": 512},
    "llama2-7b-decode-b8": {"model": "llama2-7b", "phase": "decode", "batch": 8, "kv_len": 2048},
    "llama3-8b-decode-b1": {"model": "llama3-8b", "phase": "decode", "batch": 1, "kv_len": 1024},
    "llama3-70b-decode-b1": {"model": "llama3-70b", "phase": "decode", "batch": 1, "kv_len": 1024},
    "qwen3-32b-decode-b1": {"model": "qwen3-32b", "phase": "decode", "batch": 1, "kv_len": 1024},
    "mixtral-8x7b-prefill": {"model": "mixtral-8x7b", "phase": "prefill", "batch": 1, "seq": 2048},
    "mixtral-8x7b-decode-b1": {"model": "mixtral-8x7b", "phase": "decode", "batch": 1, "kv_len": 512},
    "mixtral-8x7b-decode-b8": {"model": "mixtral-8x7b", "phase": "decode", "batch": 8, "kv_len": 2048},
    "minilm-2-4": {**_FORWARD, "model": "minilm", "batch": 8, "pattern": "2:4", "method": "magnitude"},
    "minilm-2-4-wanda": {**_FORWARD, "model": "minilm", "batch": 8, "pattern": "2:4", "method": "wanda"},
    "minilm-4-8-wanda": {**_FORWARD, "model": "minilm", "batch": 8, "pattern": "4:8", "method": "wanda"},
    "minilm-half-wanda": {**_FORWARD, "model": "minilm", "batch": 8, "pattern": "unstructured:0.5", "method": "wanda"},
    "crepe-full": {**_FORWARD, "model": "crepe-full", "batch": 8, "pattern": "dense", "method": "magnitude"},
    "crepe-full-2-4": {**_FORWARD, "model": "crepe-full", "batch": 8, "pattern": "2:4", "method": "magnitude"},
    "efficientnet-lite0": {
        **_FORWARD,
        "model": "efficientnet-lite0",
        "batch": 6,
        "pattern": "dense",
        "method": "magnitude",
    },
    "tiny-moe-prefill": {"model": TINY_MOE, "phase": "prefill", "batch": 8, "seq": 128},
    "cnn-small": {"model": "cnn-small", "phase": "forward", "batch": 16},
}
MANIFEST = "manifest.json"


def remake(name: str, folder: Path) -> dict[str, Any]:
    """Extract and write one trace; returns its entry of the manifest. Raises TraceError."""
    if name not in RECIPES:
        raise TraceError(f"{name!r} is not a committed trace; {nearest(name, RECIPES)}")
    recipe = RECIPES[name]
    trace = _trace(recipe)
    path = save_trace(trace, folder / f"{name}.trace")
    return {
        **recipe, **_measured(trace), "seed": 0, "command": f"python -m simsparse.models.remake {name}",
        "versions": _versions(trace),
        "routing": trace.meta.get("routing", []), "weights": trace.meta["weights"], "ops": len(trace.ops),
        "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "text_sha256": hashlib.sha256(trace_text(trace).encode()).hexdigest(),
    }  # fmt: skip


def _trace(recipe: Mapping[str, Any]) -> Trace:
    if recipe["model"] == TINY_MOE:
        from simsparse.models.tiny_moe import tiny_moe_trace

        return tiny_moe_trace(recipe["batch"], recipe["seq"])
    if "pattern" in recipe:
        from simsparse.models.trained import trace_trained

        return trace_trained(recipe["model"], recipe["pattern"], recipe["method"], recipe["batch"])
    return extract(**recipe)


def _measured(trace: Trace) -> dict[str, Any]:
    """What the manifest repeats of a trace of trained weights."""
    return {key: trace.meta[key] for key in ("accuracy", "packages", "training") if key in trace.meta}


def _versions(trace: Trace) -> dict[str, Any]:
    return {library: trace.meta[library] for library in ("torch", "transformers")}


def write_manifest(entries: Mapping[str, Mapping[str, Any]], folder: Path) -> Path:
    """Write the manifest, entries that are not remade kept as they are."""
    path = folder / MANIFEST
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    merged = {name: {**known, **entries}[name] for name in RECIPES if name in known or name in entries}
    path.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: remake the named traces, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m simsparse.models.remake", description="Remake the committed traces"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(RECIPES)}")
    parser.add_argument("--out", type=Path, default=data_folder().parent, help="folder of the traces")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        entries = {name: remake(name, given.out) for name in given.names or RECIPES}
    except SimsparseError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    write_manifest(entries, given.out)
    for name, entry in entries.items():
        sys.stdout.write(f"{name}.trace  {entry['ops']} ops  {entry['bytes']} bytes  {entry['sha256'][:12]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
