# SPDX-License-Identifier: Apache-2.0
"""A run of serving in numbers that JSON can hold."""

from __future__ import annotations

from typing import Any

from simsparse.config.serving import ServeSpec
from simsparse.serving.result import Served


def summary(found: Served, spec: ServeSpec) -> dict[str, Any]:
    """All that a run comes to, as JSON-able values; seconds, joules, tokens."""
    saturation, slo = found.saturation, spec.slo.model_dump(exclude_none=True)
    return {
        "name": spec.name, "model": found.model, "system": found.system, "requests": len(found.requests),
        **{name: getattr(found, name).summary() for name in ("ttft", "tpot", "e2e", "queue")},
        "requests_per_s": len(found.requests) / found.span_s, "output_tokens_per_s": found.output_tokens_per_s,
        "total_tokens_per_s": found.total_tokens_per_s,
        "goodput_per_s": found.goodput(slo) if slo else None, "slo": slo,
        "saturated": saturation.saturated, "offered_per_s": saturation.offered_per_s,
        "queue_growth_per_s": saturation.growth_per_s, "capacity_per_s": saturation.capacity_per_s,
        "joules_per_token": found.joules_per_token,
        "cost_per_million_tokens":
            found.cost_per_million(spec.price_per_device_hour) if spec.price_per_device_hour else None,
        "kv_blocks": found.kv_blocks, "preemptions": found.preemptions, "prefix_hit_ratio": found.prefix_hit_ratio,
        "interpolation_error": found.error_estimate, "assumed": list(found.assumed), "notes": list(found.notes),
    }  # fmt: skip
