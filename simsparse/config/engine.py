# SPDX-License-Identifier: Apache-2.0
"""Serving engines as data: what their host does in a step, which sizes they capture, what memory they take."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from simsparse.config.quantity import Bytes, BytesPerSecond, Efficiency, Frozen, Seconds, Share, shown
from simsparse.config.remember import read_noted
from simsparse.config.validated import validate_document
from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file


class AttentionPieces(Frozen):
    """Programs of a decode kernel, each of which reads one piece of one sequence's keys and values for one head.

    Sequences are cut into equal pieces, at most ``most``, so many that no more than ``programs`` programs run. A
    program reads ``keys`` keys at a time and takes ``time`` for them, however few others run.
    """

    programs: int = Field(gt=0)
    most: int = Field(gt=0)
    keys: int = Field(gt=0)
    time: Seconds


class EngineAttention(Frozen):
    """Attention of sequences that decode, by kernels of the engine's own: ``start`` per layer, ``memory`` the share of
    the memory's bandwidth at which keys and values are read, ``pieces`` how the kernel cuts long sequences (null:
    evenly, whatever their lengths)."""

    start: Seconds
    memory: Share
    pieces: AttentionPieces | None = None


class RankAllReducePart(Frozen):
    """All-reduce of one number of ranks: ``once`` and ``twice``, seconds of start where ranks read each other's memory
    in one step and in two; ``rate`` at which a rank reads."""

    once: Seconds
    twice: Seconds
    rate: BytesPerSecond


class EngineAllReduce(Frozen):
    """All-reduces by kernels of the engine's own, by number of ranks, for messages of up to ``most``."""

    most: Bytes
    ranks: dict[int, RankAllReducePart]


class EnginePart(Frozen):
    """A serving engine of one version.

    ``step``: host work per step while the device waits; ``sequence``: more of it per sequence of the step.
    ``kernel``: pause of the device between two kernels of a step, beyond what the times of operators hold, which were
    measured in loops of one kernel. ``ahead``: a step is planned while the one before it runs, so that a request that
    comes meanwhile joins the step after both. ``buckets``: batch sizes of captured decode steps, which are replayed in
    any stack; empty where there are none.
    ``pad``: prompts are padded to a multiple of so many tokens. ``memory``: share of the device's memory that weights
    and the cache of keys and values may take. ``attention``, ``all_reduce``: null where the library's is used.
    """

    name: str
    description: str
    step: Seconds
    sequence: Seconds
    kernel: Seconds
    ahead: bool = False
    buckets: tuple[int, ...] = ()
    pad: int = 1
    memory: Efficiency
    attention: EngineAttention | None = None
    all_reduce: EngineAllReduce | None = None


def engine_names() -> list[str]:
    """Names of all engines: paths under hw_models/engines without the suffix."""
    root = data_root() / "hw_models/engines"
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.glob("*/*.yaml"))


def engine_file(name: str) -> Path:
    """The file of the engine ``name``, whether it is there or not."""
    return data_root() / "hw_models/engines" / f"{name}.yaml"


def load_engine(name: str) -> EnginePart:
    """The engine called ``name``, or in the YAML file of that name. Raises SpecError with the nearest name."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else engine_file(name)
    if not is_file(path):
        raise SpecError(f"{shown(name)} is not a serving engine; {nearest(name, engine_names())}", key="engine")
    document = read_noted(path)
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    engine: EnginePart = validate_document(document, EnginePart, {**document.data, "name": name})
    return engine
