# SPDX-License-Identifier: Apache-2.0
"""Ops as the records of a trace file: a body that equal ops share, and what is each op's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

from simsparse.core import DENSE, KINDS, DType, KernelCall, Op, Routing, Sparsity
from simsparse.errors import SpecError, TraceError, nearest
from simsparse.sparsity import USUAL
from simsparse.sparsity.formats.storage import storage_text
from simsparse.trace.expert_ids import packed_ids, unpacked_ids

MAX_DEPS = 20_000_000
MAX_IDS = 20_000_000
MAX_INT64 = 2**63 - 1
_BODY_KEYS = ("kind", "dims", "dtype", "weight_dtype", "output_dtype", "weight_sparsity", "input_sparsity",
              "weight_format", "label", "src", "dst", "group", "bias", "latent_kv", "stats", "kernels")  # fmt: skip
_OP_KEYS = ("op", "name", "module", "weight", "deps", "routing")
_ROUTING_KEYS = ("counts", "ids", "origin")


def body_of(op: Op) -> dict[str, Any]:
    """What ops of one shape share, without the fields that have their usual value."""
    kind = op.definition
    dims = {key: op.dims[key] for key in (*kind.dims, *kind.optional_dims) if key in op.dims}
    body: dict[str, Any] = {"kind": op.kind, "dims": dims, "dtype": str(op.dtype)}
    optional = {
        "weight_dtype": op.weight_dtype and str(op.weight_dtype),
        "output_dtype": op.output_dtype and str(op.output_dtype), "weight_sparsity": _sparsity_text(op.weight_sparsity),
        "input_sparsity": _sparsity_text(op.input_sparsity), "label": op.label, "src": op.src, "dst": op.dst,
        "weight_format": "" if op.weight_format == USUAL else op.weight_format,
        "group": list(op.group), "bias": op.bias, "latent_kv": op.latent_kv, "stats": dict(op.stats),
        "kernels": [_kernel_record(kernel) for kernel in op.kernels],
    }  # fmt: skip
    kept = {"src", "dst"}
    body |= {key: value for key, value in optional.items() if value or (key in kept and value is not None)}
    return body


def op_record(op: Op, body: int, deps: Sequence[int]) -> dict[str, Any]:
    """An op's own line: the index of its body, its name, and its dependencies as offsets (-1: the op before)."""
    record: dict[str, Any] = {"op": body, "name": op.name}
    if op.module:
        record["module"] = op.module
    if op.weight is not None:
        record["weight"] = op.weight
    if deps:
        record["deps"] = list(deps)
    if op.routing is not None:
        record["routing"] = _routing_record(op.routing)
    return record


def checked(op: Op) -> Op:
    """``op`` when it may stand in a trace file.

    Raises TraceError on unprintable text, a dim of zero where the kind needs one or more, or counts and bytes that
    do not fit 64 bits, SpecError on a routing that does not fit the dims.
    """
    for key in ("name", "label", "module", "weight", "src", "dst"):
        _text(getattr(op, key) or "", key)
    for name in op.group:
        _text(name, "group")
    if not op.name:
        _fail("is empty", "name")
    _check_dims(op)
    op.definition.check_routing(op)
    _check_size(op)
    return op


def _check_size(op: Op) -> None:
    if max(op.min_bytes, op.flops) > MAX_INT64:
        _fail("the op's bytes or FLOPs do not fit 64 bits", "dims")


def _check_dims(op: Op) -> None:
    try:
        op.checked()
    except SpecError as error:
        _fail(error.message, f"dims.{error.key}" if error.key in op.dims else error.key)


@dataclass(frozen=True)
class OpRecord:
    """A body line, parsed: the fields that its ops share, checked but for what depends on an op's routing."""

    fields: Mapping[str, Any]

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> OpRecord:
        """The fields of a body line. Raises TraceError or SpecError on unknown keys and bad values."""
        _known(body, _BODY_KEYS, ("kind", "dims", "dtype"))
        kind = body["kind"]
        if not isinstance(kind, str) or kind not in KINDS:
            _fail(f"{kind!r:.80} is not a kind; {nearest(str(kind)[:80], KINDS)}", "kind")
        fields: dict[str, Any] = {
            "kind": kind, "dims": _dict(body["dims"], "dims"), "dtype": _dtype(body["dtype"], "dtype"),
            **{key: _dtype(body[key], key) if key in body else None for key in ("weight_dtype", "output_dtype")},
            "weight_sparsity": _sparsity(body, "weight_sparsity"), "input_sparsity": _sparsity(body, "input_sparsity"),
            "weight_format": _format(body.get("weight_format", USUAL)),
            "label": _text(body.get("label", ""), "label"), "stats": _dict(body.get("stats", {}), "stats"),
            "src": _optional_text(body, "src"), "dst": _optional_text(body, "dst"),
            "group": tuple(_text(name, "group") for name in _list(body.get("group", []), "group")),
            "bias": _flag(body, "bias"), "latent_kv": _flag(body, "latent_kv"),
            "kernels": tuple(_kernel(item) for item in _list(body.get("kernels", []), "kernels")),
        }  # fmt: skip
        op = Op(name="body", **fields)
        _check_dims(op)
        if not op.definition.routed:
            _check_size(op)
        return cls(fields)


def op_from(record: Mapping[str, Any], bodies: Sequence[OpRecord], names: Sequence[str]) -> Op:
    """The op of an op line, ``names`` the names of the ops before it. Raises TraceError or SpecError."""
    _known(record, _OP_KEYS, ("op", "name"))
    body = bodies[_index(record["op"], 0, len(bodies) - 1, "op")]
    deps = _list(record.get("deps", []), "deps")
    op = Op(
        **body.fields, name=_text(record["name"], "name"), module=_text(record.get("module", ""), "module"),
        weight=_optional_text(record, "weight"),
        deps=tuple([names[_index(dep, -len(names), -1, "deps")] for dep in deps]),
        routing=_routing(record["routing"], body.fields["dims"]) if "routing" in record else None,
    )  # fmt: skip
    return checked(op) if op.routing is not None or op.definition.routed or not op.name else op


def _kernel_record(kernel: KernelCall) -> list[Any]:
    return [kernel.name, *kernel[1:4], str(kernel.dtype), kernel.rows, kernel.cols, int(kernel.strided)]


def _kernel(value: Any) -> KernelCall:
    if len(_list(value, "kernels")) != len(KernelCall._fields):
        _fail(f"{value!r:.80} does not have {', '.join(KernelCall._fields)}", "kernels")
    name, read, write, flops, dtype, rows, cols, strided = value
    for number, least in ((read, 0), (write, 0), (flops, 0), (rows, 1), (cols, 1)):
        _index(number, least, MAX_INT64, "kernels")
    spread = bool(_index(strided, 0, 1, "kernels"))
    return KernelCall(_text(name, "kernels"), read, write, flops, _dtype(dtype, "kernels"), rows, cols, spread)


def ids_in(record: Mapping[str, Any]) -> int:
    """At most how many expert ids the routing of an op line holds, known before they are unpacked."""
    routing = record.get("routing")
    ids = routing.get("ids", ()) if isinstance(routing, dict) else ()
    if isinstance(ids, list):
        return sum(len(row) for row in ids if isinstance(row, list))
    return len(ids) if isinstance(ids, str) else 0


def _routing_record(routing: Routing) -> dict[str, Any]:
    record: dict[str, Any] = {"counts": routing.counts, "origin": routing.origin}
    if routing.ids:
        record["ids"] = packed_ids(routing.ids, len(routing.counts))
    return record


def _routing(value: Any, dims: Mapping[str, int]) -> Routing:
    record = _dict(value, "routing")
    _known(record, _ROUTING_KEYS, ("counts", "origin"))
    counts = _list(record["counts"], "routing.counts")
    _whole(counts)
    ids = _ids(record.get("ids", ""), len(counts), dims.get("top_k", 1))
    return Routing(tuple(counts), ids, _text(record["origin"], "routing.origin"))


def _ids(value: Any, experts: int, top_k: int) -> tuple[tuple[int, ...], ...]:
    """Packed ids; or arrays of ids, as in version 1."""
    if isinstance(value, str):
        return unpacked_ids(value, experts, top_k)
    rows = [_list(row, "routing.ids") for row in _list(value, "routing.ids")]
    _whole(list(chain.from_iterable(rows)))
    return tuple(map(tuple, rows))


def _whole(numbers: Sequence[Any]) -> None:
    if set(map(type, numbers)) - {int} or min(numbers, default=0) < 0:
        _index(next(n for n in numbers if type(n) is not int or n < 0), 0, MAX_INT64, "routing")


def _sparsity_text(sparsity: Sparsity) -> str:
    """Text that parses back to the same sparsity, densities to the last bit; "" for dense."""
    if sparsity == DENSE:
        return ""
    exact = sparsity.exact
    if Sparsity.parse(exact) != sparsity:
        _fail(f"{sparsity!r} is not a sparsity that text can say", "sparsity")
    return exact


def _sparsity(body: Mapping[str, Any], key: str) -> Sparsity:
    return Sparsity.parse(_text(body[key], key)) if key in body else DENSE


def _format(value: Any) -> str:
    return storage_text(_text(value, "weight_format"))


def _dtype(value: Any, key: str) -> DType:
    return DType.parse(_text(value, key))


def _known(record: Mapping[str, Any], allowed: Sequence[str], needed: Sequence[str]) -> None:
    for key in record:
        if key not in allowed:
            _fail(f"{key!r:.80} is not known here; {nearest(key[:80], allowed)}")
    for key in needed:
        if key not in record:
            _fail("is missing", key)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        _fail(f"{value!r:.80} is not printable text", key)
    return value


def _optional_text(record: Mapping[str, Any], key: str) -> str | None:
    return _text(record[key], key) if key in record else None


def _flag(body: Mapping[str, Any], key: str) -> bool:
    if body.get(key, True) is not True:
        _fail(f"{body[key]!r:.80} is not true; leave it out where it is not", key)
    return key in body


def _dict(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _fail("is not an object", key)
    return value


def _list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        _fail("is not an array", key)
    return value


def _index(value: Any, low: int, high: int, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        _fail(f"{value!r:.40} is not a whole number from {low} to {high}", key)
    return value


def _fail(message: str, key: str | None = None) -> NoReturn:
    raise TraceError(message, key=key)
