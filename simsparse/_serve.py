# SPDX-License-Identifier: Apache-2.0
"""The pipeline of serving: model and machine to step costs, requests through replicas, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from simsparse.config.hardware import System, system_of
from simsparse.config.layout import Layout
from simsparse.config.run_spec import folder
from simsparse.config.serving import ServeSpec
from simsparse.config.yaml import Document
from simsparse.core import Trace
from simsparse.errors import SpecError
from simsparse.lowering.machine import machine_of
from simsparse.lowering.stacks import stack_of
from simsparse.paths import find_file
from simsparse.policies.batching import Batching, batching_of
from simsparse.serving.build import Build, CacheOptions
from simsparse.serving.disaggregated import Disaggregation
from simsparse.serving.engine import Engine
from simsparse.serving.fleet import FleetPlan, run_fleet
from simsparse.serving.model import ServedModel
from simsparse.serving.models import model_of, trace_named
from simsparse.serving.result import Served
from simsparse.serving.speculation import Speculation
from simsparse.sources.arrivals import arrivals_of
from simsparse.sources.draw_requests import draw_requests
from simsparse.sources.request_files import read_requests
from simsparse.sources.requests import Requests

T = TypeVar("T")
DEFAULT_ENGINE = "asynchronous/1"


def serve(
    requests: Requests,
    system: System | str | Path,
    model: str | Trace | ServedModel,
    policy: str | Mapping[str, Any] | Batching = "chunked",
    *,
    engine: str | Engine = DEFAULT_ENGINE,
    stack: str = "fused+graph",
    kv: Mapping[str, Any] | None = None,
    replicas: int = 1,
    router: str = "round_robin",
    parallel: str | Mapping[str, Any] | Layout = "",
    weights: str = "",
    residency: str = "resident",
    speculation: Mapping[str, Any] | None = None,
    disaggregated: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Served:
    """Serve ``requests`` by ``model`` on ``replicas`` of ``system`` under a batching ``policy``.

    ``model``: a name of the zoo, a trace of a decode step, or its file. ``policy``: a kind of batching such as
    ``prefill_first``, or a mapping with its options, ``{"kind": "chunked", "max_seqs": 128, "tokens": 2048}``.
    ``engine``: what the serving engine's host adds, a file under hw_models/engines. ``stack``: as in ``simulate``; of
    kernels that a host launches one by one, a step takes the longer of all calls and all kernels. ``kv``: ``block``
    tokens of a block, ``blocks`` in all (by default what the memory has beside the weights), ``prefix_cache``.
    ``speculation``: drafts that steps verify, ``{"lengths": [1.8, 2.5]}``, mean tokens per step with 1, 2, ... drafts,
    ``{"accepted": [0.8, 0.7]}`` by position, or ``{"tokens": 2, "rate": 0.8}``; ``draft_s`` seconds of drafts per step.
    ``disaggregated``: replicas of prefill and decode apart, ``{"prefill": 1, "decode": 2, "bytes_per_s": 150e9}``.
    ``residency``: a policy of weights as in ``simulate``, such as ``on_demand``. With one, and on machines of several
    devices that compute, whole steps are simulated, and the cache has as many blocks as ``kv`` says, or no limit.
    ``parallel``: a layout of each replica over GPUs of the system, ``{"tp": 4}``; ``weights``: type of the products of
    layers in place of the trace's, ``fp8``. ``seed`` draws what drafts are accepted.

    Raises SpecError on unknown names and options, MappingError when an op has no device, SimulationError when the
    model or a request does not fit.
    """
    layout, rule = Layout.parse(parallel), batching_of(policy)
    served, own = model_of(model, system_of(system), layout, weights)
    memory, host = CacheOptions.of(kv or {}), Engine.named(engine)
    build = Build(machine_of(own), served, rule, host, stack_of(stack), memory, layout.ranks, residency)
    drafts = Speculation.of(speculation) if speculation else None
    split = Disaggregation.of(disaggregated) if disaggregated else None
    return run_fleet(requests, build, FleetPlan(replicas, router, drafts, split, seed))


def serve_spec(spec: ServeSpec, document: Document, rate: float | None = None) -> Served:
    """Run a serving experiment; ``rate``: requests per second in place of those of its arrivals.

    Raises SpecError that names the file and, of requests and names that are not known, the line.
    """
    policy, system = spec.policy, system_of(spec.system).with_overrides(spec.override)
    return serve(
        _at(document, "requests", lambda: requests_of(spec, folder(document), rate)), system,
        _at(document, "model", lambda: trace_named(spec.model)), _at(document, "policy", lambda: batching_of(policy)),
        engine=_at(document, "engine", lambda: Engine.named(spec.engine)), stack=spec.stack, kv=spec.kv.model_dump(),
        replicas=spec.replicas, router=spec.router, speculation=spec.speculation, disaggregated=spec.disaggregated,
        seed=spec.seed, parallel=_at(document, "parallel", lambda: Layout.parse(spec.parallel)),
        weights=spec.weights, residency=spec.residency,
    )  # fmt: skip


def requests_of(spec: ServeSpec, beside: Path, rate: float | None = None) -> Requests:
    """The requests of a serving experiment. Raises SpecError."""
    own = spec.requests
    if own.file is not None:
        found = read_requests(find_file(own.file, beside), own.count)
        scale = own.scale if rate is None else rate / found.rate_per_s if found.rate_per_s else 1.0
        found = replace(found, arrival_s=found.arrival_s / scale)
        if own.arrivals is None:
            return found
        return arrivals_of(_rated(own.arrivals, rate)).coming(found, spec.seed)
    assert own.count is not None and own.arrivals is not None and own.input is not None and own.output is not None
    return draw_requests(own.count, _rated(own.arrivals, rate), own.input, own.output, spec.seed,
                         shared_prefix=own.shared_prefix, name=spec.name)  # fmt: skip


def _rated(arrivals: str | Mapping[str, Any], rate: float | None) -> str | Mapping[str, Any]:
    if rate is None or isinstance(arrivals, str):
        return arrivals
    return {**arrivals, "rate": rate}


def _at(document: Document, key: str, make: Callable[[], T]) -> T:
    """What ``make`` makes, its faults at ``key`` of the file."""
    try:
        return make()
    except SpecError as error:
        if error.file is not None:
            raise
        raise document.error((key,), f"{error.key}: {error.message}" if error.key else error.message) from None
