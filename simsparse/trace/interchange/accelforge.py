# SPDX-License-Identifier: Apache-2.0
"""AccelForge workloads: export only, one YAML file of Einsums.

Keys as accelforge 1.0's ``Workload`` and ``Einsum`` read them: ``einsums`` with ``tensor_accesses``,
``iteration_space_shape`` and ``n_instances``. AccelForge knows no sparsity, so weights are dense.
"""

from __future__ import annotations

from pathlib import Path

from simsparse.core import DType, Trace
from simsparse.core.kinds.conv2d import CONV2D, strides
from simsparse.trace.file import replace_file
from simsparse.trace.interchange.base import TRACE_FORMATS, Notes, TraceFormat
from simsparse.trace.interchange.products import TraceGemm, identifier, products, unique

_RENAMES = """\
renames:
  einsums:
  - name: default
    tensor_accesses:
    - {name: input, source: Inputs & Intermediates, expected_count: 1}
    - {name: output, source: Outputs, expected_count: 1}
    - {name: weight, source: ~(input | output), expected_count: 1}
"""


def write_accelforge(trace: Trace, path: Path) -> tuple[str, ...]:
    """Write the products of ``trace``, equal ones of one op kind as one Einsum with ``n_instances``."""
    notes = Notes()
    names, counts = dict[tuple[object, ...], str](), dict[str, int]()
    einsums, taken = dict[str, TraceGemm](), set[str]()
    for product in products(trace, notes):
        if not product.sparsity.is_dense:
            notes.add("AccelForge knows no sparsity: weights are written dense", product.name)
        key = _shape(product)
        if key not in names:
            names[key] = unique(identifier(product.name), taken)
            einsums[names[key]] = product
        counts[names[key]] = counts.get(names[key], 0) + product.times
    text = "".join(_einsum(i, name, product, counts[name]) for i, (name, product) in enumerate(einsums.items()))
    replace_file(path, f"workload:\n  einsums:\n{text}\n{_RENAMES}".encode())
    return notes.lines(f"{len(einsums)} different Einsums, each with how often it runs as n_instances")


def _shape(product: TraceGemm) -> tuple[object, ...]:
    """What makes two products one Einsum."""
    d = product.op.dims
    conv = tuple(d.items()) if product.is_conv else ()
    return (product.batch, product.m, product.n, product.k, conv, product.op.dtype, product.op.w_dtype)


def _einsum(i: int, name: str, product: TraceGemm, count: int) -> str:
    """One Einsum; variables and tensors carry its number, as AccelForge ties equal names together."""
    bounds, x, weight, y = _conv(product) if product.is_conv else _matrix(product)
    shape = "".join(f"    - 0 <= {variable}{i} < {size}\n" for variable, size in bounds.items())
    value, stored = _bits(product.op.dtype), _bits(product.op.w_dtype)
    return (
        f"  - name: {name}\n"
        f"    n_instances: {count}\n"
        "    tensor_accesses:\n"
        f"    - {{name: I{i}, projection: {x.replace('#', str(i))}, bits_per_value: {value}}}\n"
        f"    - {{name: W{i}, projection: {weight.replace('#', str(i))}, bits_per_value: {stored}}}\n"
        f"    - {{name: T{i}, projection: {y.replace('#', str(i))}, bits_per_value: {value}, output: True}}\n"
        f"    renames: {{input: I{i}, weight: W{i}, output: T{i}}}\n"
        "    iteration_space_shape:\n"
        f"{shape}"
    )


def _bits(dtype: DType) -> int:
    return dtype.bits


def _matrix(product: TraceGemm) -> tuple[dict[str, int], str, str, str]:
    sizes = {"m": product.m, "n": product.n, "k": product.k}
    if product.batch == 1:
        return sizes, "[m#, k#]", "[n#, k#]", "[m#, n#]"
    return {"b": product.batch, **sizes}, "[b#, m#, k#]", "[b#, n#, k#]", "[b#, m#, n#]"


def _conv(product: TraceGemm) -> tuple[dict[str, int], str, str, str]:
    """One group of a convolution over the padded input."""
    d, (vertical, horizontal) = CONV2D.all_dims(product.op), strides(product.op)
    bounds = {"n": d["batch"], "c": d["c_in"] // d["groups"], "m": d["c_out"] // d["groups"], "p": d["h_out"],
              "q": d["w_out"], "r": d["kh"], "s": d["kw"]}  # fmt: skip
    tall, wide = (
        f"{tap}# * {d[key]}" if d[key] > 1 else f"{tap}#" for tap, key in (("r", "dilation_h"), ("s", "dilation_w"))
    )
    rows, columns = f"p# * {vertical} + {tall}", f"q# * {horizontal} + {wide}"
    x = f"{{N#: n#, C#: c#, H#: {rows}, W#: {columns}}}"
    return bounds, x, "[m#, c#, r#, s#]", "[n#, m#, p#, q#]"


TRACE_FORMATS.register("accelforge")(
    TraceFormat("accelforge", (".accelforge.yaml", ".yaml"), "AccelForge workload YAML", write=write_accelforge)
)
