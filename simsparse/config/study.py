# SPDX-License-Identifier: Apache-2.0
"""Studies: a published system, what it claims, and the runs that compare a claim with the models.

``configs/studies/NAME/study.yaml`` describes the system NAME; the experiments that it runs lie beside it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from simsparse.config.keys import Text
from simsparse.config.quantity import Frozen, shown
from simsparse.config.validated import validate_document
from simsparse.config.yaml import Document, read_yaml
from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file

FOLDER = "configs/studies"
FILE = "study.yaml"

Positive = Annotated[float, Field(gt=0)]


class Family(StrEnum):
    """What kind of system it is."""

    SPARSE_ACCELERATOR = "sparse accelerator"
    PIM = "PIM"
    OFFLOAD = "offload"
    EXPERT_PARALLEL = "expert parallel"
    GPU_KERNEL = "sparse GPU kernel"
    CPU_KERNEL = "sparse CPU kernel"
    SPARSE_ATTENTION = "sparse attention"
    CONTEXTUAL_SPARSITY = "contextual sparsity"
    COMPRESSED_WEIGHTS = "quantised or compressed weights"
    COST_MODEL = "cost model"
    OTHER = "other"


class Seen(StrEnum):
    """How we know what was published: the document was read, a third party's note of it was, or we recall it."""

    DOCUMENT = "document"
    NOTE = "note"
    MEMORY = "memory"


class Where(StrEnum):
    """The place of a figure in its document."""

    ABSTRACT = "abstract"
    TEXT = "text"
    TABLE = "table"
    FIGURE = "figure"
    REPOSITORY = "repository"
    LOG = "log"
    PAGE = "page"


class ClaimValue(StrEnum):
    """How a claim's value follows from the passes of the system and of its baseline.

    The cost of a side is its metric, summed over its passes, per item.
    """

    BASELINE_OVER_SYSTEM = "baseline/system"
    SYSTEM_OVER_BASELINE = "system/baseline"
    SYSTEM = "system"
    RATE = "1/system"

    @property
    def needs_baseline(self) -> bool:
        """Whether the value is a ratio of two sides."""
        return self in (ClaimValue.BASELINE_OVER_SYSTEM, ClaimValue.SYSTEM_OVER_BASELINE)


class About(StrEnum):
    """Whether a figure is of the system, or of the baseline that it is compared with."""

    SYSTEM = "system"
    BASELINE = "baseline"


class ClaimMetric(StrEnum):
    """The number of a simulation's result that is compared.

    ``memory_bytes`` is what the device with most in its memory keeps, ``weight_bytes`` the weights of all devices,
    ``hit_rate`` the share of the reads of weights from elsewhere that found them on their device.
    """

    LATENCY = "latency_s"
    ENERGY = "energy_j"
    MEMORY = "memory_bytes"
    WEIGHTS = "weight_bytes"
    HIT_RATE = "hit_rate"


class Reference(Frozen):
    """Who published the system and where; ``seen`` is how we know that."""

    authors: str | None = None
    venue: str | None = None
    year: Annotated[int, Field(ge=1980, le=2100)] | None = None
    cite: Text
    seen: Seen = Seen.MEMORY


class FigureSource(Frozen):
    """Where a figure stands: in the system's own document unless ``cite`` names another."""

    where: Where
    at: str = ""
    cite: str = ""
    seen: Seen = Seen.DOCUMENT


class Pass(Frozen):
    """An experiment beside the study, run ``times`` in a row."""

    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.yaml$")]
    times: Positive = 1.0


def _passes(raw: Any) -> Any:
    """A file name stands for one pass of it."""
    return ({"experiment": raw},) if isinstance(raw, str) else raw


class Side(Frozen):
    """One side of a comparison: what is run, and for how many items (tokens, images) that is."""

    passes: Annotated[tuple[Pass, ...], BeforeValidator(_passes), Field(min_length=1)]
    items: Positive = 1.0


def _side(raw: Any) -> Any:
    return {"passes": raw} if isinstance(raw, str | list) else raw


SideField = Annotated[Side, BeforeValidator(_side)]


class Run(Frozen):
    """How a claim is run: a point of a case, or experiments of the system and of its baseline."""

    case: Text | None = None
    point: Text | None = None
    system: SideField | None = None
    baseline: SideField | None = None
    metric: ClaimMetric = ClaimMetric.LATENCY
    value: ClaimValue = ClaimValue.BASELINE_OVER_SYSTEM

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.case is None) == (self.system is None):
            raise ValueError("expected either case and point, or system with its experiments")
        if (self.case is None) != (self.point is None):
            raise ValueError("case and point belong together")
        if self.case is not None and self.baseline is not None:
            raise ValueError("a case has its own baseline")
        if self.system is not None and self.value.needs_baseline != (self.baseline is not None):
            need = "needs a" if self.value.needs_baseline else "has no"
            raise ValueError(f"value {self.value} {need} baseline")
        return self

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that consist of experiments, the system first."""
        return tuple(side for side in (self.system, self.baseline) if side is not None)


class ShownRun(Frozen):
    """A run that shows what carries the deviation of a claim: ``what`` says what differs from the claim's own run."""

    what: Text
    run: Run

    @model_validator(mode="after")
    def _of_experiments(self) -> Self:
        if self.run.case is not None:
            raise ValueError("expected a run of experiments; a case shows its own variants")
        return self


class Claim(Frozen):
    """A published figure, how it is compared and how far off the answer may be.

    ``published`` is None where the document gives no figure; ``to`` is the end of a published range. ``tolerance`` is
    a relative deviation, to be stated before the run; None where none can be stated. ``why`` says from what source and
    assumptions it follows. ``lacks`` lists what the figure includes and the run leaves out; such a run is a
    comparison in part. A claim about the baseline says how well the machine is modelled and does not count for the
    state of the system. ``cause`` says which assumption or missing mechanism carries a deviation, and ``shown`` has the
    runs that show it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    what: Text
    about: About = About.SYSTEM
    published: Positive | None
    to: Positive | None = None
    unit: str
    condition: str = ""
    source: FigureSource
    tolerance: Annotated[float, Field(ge=0, lt=1)] | None = None
    why: str = ""
    lacks: tuple[Text, ...] = ()
    run: Run | None = None
    cause: str = ""
    shown: tuple[ShownRun, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """The claim's run and those that show a cause."""
        return (self.run, *(item.run for item in self.shown)) if self.run is not None else ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.to is not None and (self.published is None or self.to <= self.published):
            raise ValueError("to must be above published, the start of the range")
        if self.run is not None and not self.why:
            raise ValueError("a claim that is run must say in why whence its tolerance, or why it has none")
        if self.run is None and (self.tolerance is not None or self.lacks or self.cause):
            raise ValueError("tolerance, lacks and cause are for a claim that is run")
        if self.shown and not self.cause:
            raise ValueError("shown needs a cause, which its runs show")
        if self.published is None and self.tolerance is not None:
            raise ValueError("a claim without a figure has no tolerance")
        return self


class NoRun(StrEnum):
    """Why a system is not run, in one term."""

    WORKLOAD_ONLY = "workload only"
    NOT_EXPRESSIBLE = "not expressible"


class Status(Frozen):
    """The state of a system of which nothing runs, with the reason."""

    state: NoRun
    reason: Text


def _id(text: str) -> str:
    if not re.fullmatch(r"[A-Z][0-9]{1,4}", text):
        raise ValueError(f"{shown(text)} is not an id; expected a capital letter and a number, such as A1")
    return text


class Study(Frozen):
    """A published system: what it is, what it claims, what our runs assume and what is missing.

    ``assumptions`` are the key ``assumed``. ``status`` is for a system of which no claim is run; the state of any
    other follows from the runs.
    """

    id: Annotated[str, AfterValidator(_id)]
    title: Text
    reference: Reference
    family: Family
    mechanism: Text
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]
    assumptions: Annotated[tuple[Text, ...], Field(alias="assumed")] = ()
    missing: tuple[Text, ...] = ()
    status: Status | None = None

    @model_validator(mode="after")
    def _state_follows(self) -> Self:
        runs = any(claim.run for claim in self.claims)
        if runs and self.status is not None:
            raise ValueError("status is derived where a claim is run; leave it out")
        if not runs and self.status is None:
            raise ValueError("status is missing; no claim is run")
        names = [claim.name for claim in self.claims]
        if len(set(names)) != len(names):
            raise ValueError("two claims have the same name")
        return self

    @property
    def order(self) -> tuple[str, int]:
        """Letter and number of the id, by which studies are listed."""
        return self.id[0], int(self.id[1:])


def studies_folder() -> Path:
    """The folder that holds one folder per study."""
    return data_root() / FOLDER


def study_names() -> list[str]:
    """Names of all studies, in the order of their ids. Raises SpecError when one can't be read."""
    names = [path.parent.name for path in studies_folder().glob(f"*/{FILE}")]
    return sorted(names, key=lambda name: load_study(name)[0].order)


def is_path(name: str) -> bool:
    """Whether ``name`` is a YAML file of the user's own and no study that comes along."""
    return name.endswith((".yaml", ".yml"))


def study_name(name: str) -> str:
    """What a study is called: its folder, or its file without the suffix when that is not study.yaml."""
    path = Path(name)
    return (path.resolve().parent.name if path.name == FILE else path.stem) if is_path(name) else name


def load_study(name: str) -> tuple[Study, Document]:
    """The study called ``name``, or in the YAML file ``name``.

    Raises SpecError that names file, line and key, or the nearest name.
    """
    path = Path(name) if is_path(name) else studies_folder() / name / FILE
    if not is_file(path):
        known = [found.parent.name for found in studies_folder().glob(f"*/{FILE}")]
        raise SpecError(f"{shown(name)} is not a study; {nearest(name, known)}")
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    study: Study = validate_document(document, Study, document.data)
    return study, document
