# SPDX-License-Identifier: Apache-2.0
"""One operator from the words of a command line: ``linear m=512 n=4096 k=4096``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simsparse.errors import SpecError, nearest

if TYPE_CHECKING:
    from simsparse.core import Op, Routing

_NOT_ALONE = {"launched", "transfer", "collective"}
"""Kinds that run on no single part, or that a framework's kernels stand for."""
_FIELDS = ("weight_dtype", "weight_sparsity", "input_sparsity", "weight_format", "bias", "label")
"""What every kind takes beside its own arguments."""


def operator(words: Sequence[str]) -> Op:
    """An operator from ``KIND key=value ...``. Raises SpecError.

    ``moe_ffn`` takes ``routing`` as rows of expert ids, or ``top_k`` with the process that draws them as ``routing``
    (``uniform`` where it is not given) and its ``seed``.
    """
    from simsparse.core import KINDS

    kinds = [name for name in KINDS if name not in _NOT_ALONE]
    kind, *pairs = words
    if kind not in kinds:
        raise SpecError(f"{kind!r} is not an operator; {nearest(kind, kinds)}")
    factory = KINDS.get(kind).factory
    allowed = [name for name in inspect.signature(factory).parameters if name != "fields"]
    allowed += [name for name in _FIELDS if name not in allowed]
    allowed += ["top_k", "seed"] if kind == "moe_ffn" else []
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in allowed:
            raise SpecError(f"{pair!r} is not KEY=VALUE of {kind}; {nearest(key, allowed)}", key=kind)
        arguments[key] = _plain(value)
    if kind == "moe_ffn":
        arguments["routing"] = _routing(arguments)
    try:
        return factory(**arguments)
    except TypeError as error:
        raise SpecError(str(error).replace("()", ""), key=kind) from None


def _routing(arguments: dict[str, Any]) -> Any:
    """Rows of expert ids as given, or drawn from ``top_k`` and a process, which are taken out of ``arguments``."""
    from simsparse.trace.routing import RoutingProcess, generate

    given, top_k, seed = (arguments.pop(key, None) for key in ("routing", "top_k", "seed"))
    if top_k is None and given is None:
        raise SpecError("give routing, rows of expert ids such as [[0,1],[2,3]], or top_k", key="moe_ffn.routing")
    if top_k is None or isinstance(given, list):
        return given
    sizes = {"top_k": top_k, "seed": seed or 0} | {key: arguments.get(key) for key in ("tokens", "experts")}
    for key, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < (key != "seed"):
            raise SpecError(f"{size!r:.80} is not a positive whole number", key=f"moe_ffn.{key}")
    process = RoutingProcess.parse("uniform" if given is None else str(given))
    drawn: Routing = generate(process, sizes["tokens"], sizes["experts"], sizes["top_k"], 0, sizes["seed"])
    return drawn


def _plain(text: str) -> Any:
    """A number, numbers as ``2,1``, lists as ``[[0,1],[2,3]]``, true or false, or the text itself."""
    if "," in text and all(part.isascii() and part.isdecimal() for part in text.split(",")):
        return [int(part[:20]) for part in text.split(",")]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if not isinstance(value, float | dict) else text
