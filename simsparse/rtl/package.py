# SPDX-License-Identifier: Apache-2.0
"""The RTL as other projects take it: a FuseSoC core, a Bender manifest, a list of files, names with a prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from simsparse.errors import SpecError
from simsparse.rtl.toolchain import sources

TOP = "nm_gemm_axi"
VERSION = "2.0.0"
MANIFESTS = ("simsparse_rtl.core", "Bender.yml", "files.f")
_NAME = re.compile(r"[A-Za-z_]\w*")


def modules() -> list[str]:
    """Every module of rtl/, those inside others first."""
    texts = {path.stem: _code(path.read_text(encoding="utf-8")) for path in sorted(sources().glob("*.sv"))}
    inside = {name: {other for other in texts if other != name and _holds(text, other)} for name, text in texts.items()}
    ordered: list[str] = []
    while len(ordered) < len(texts):
        ordered += [name for name in texts if name not in ordered and inside[name] <= set(ordered)]
    return ordered


def closure(tops: Iterable[str]) -> list[str]:
    """``tops`` and every module inside them, in the order of modules(). Raises SpecError on an unknown one."""
    known, wanted = modules(), list(tops)
    for name in wanted:
        if name not in known:
            raise SpecError(f"{name!r} is no module of the RTL; expected one of {', '.join(known)}", key="module")
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        found.add(name)
        text = _code((sources() / f"{name}.sv").read_text(encoding="utf-8"))
        wanted += [other for other in known if other not in found and _holds(text, other)]
    return [name for name in known if name in found]


def manifests(names: list[str], prefix: str = "") -> dict[str, str]:
    """The text of every manifest, for the modules ``names``."""
    files = [f"{prefix}{name}.sv" for name in names]
    top = prefix + (TOP if TOP in names else names[-1])
    core = "".join(f"      - {file}\n" for file in files)
    return {
        "simsparse_rtl.core": (
            "CAPI=2:\n# SPDX-License-Identifier: Apache-2.0\n"
            f"name: simsparse:rtl:{prefix}nm:{VERSION}\n"
            "description: Blocks of an N:M sparse datapath, verified cycle by cycle\n\n"
            f"filesets:\n  rtl:\n    files:\n{core}    file_type: systemVerilogSource\n\n"
            f"targets:\n  default: &default\n    filesets: [rtl]\n    toplevel: {top}\n"
            "  lint:\n    <<: *default\n    default_tool: verilator\n    tools:\n      verilator:\n"
            "        mode: lint-only\n        verilator_options: [-Wall]\n"
        ),
        "Bender.yml": (
            "# SPDX-License-Identifier: Apache-2.0\n"
            f"package:\n  name: {prefix}simsparse_rtl\n  authors: [\"The simsparse developers\"]\n\nsources:\n"
            + "".join(f"  - {file}\n" for file in files)
        ),
        "files.f": "// SPDX-License-Identifier: Apache-2.0\n" + "".join(f"{file}\n" for file in files),
    }  # fmt: skip


def export(out: Path, tops: Iterable[str] = (), prefix: str = "") -> list[Path]:
    """Write ``tops`` (all modules when empty) with what is inside them to ``out``, each name behind ``prefix``, and the
    manifests. Returns the files. Raises SpecError on an unknown module or a prefix that starts no name."""
    if prefix and not _NAME.fullmatch(prefix):
        raise SpecError(f"{prefix!r} starts no name; expected letters, digits and _, no digit first", key="prefix")
    chosen = closure(tops) if (tops := list(tops)) else modules()
    out.mkdir(parents=True, exist_ok=True)
    texts = {f"{prefix}{name}.sv": _renamed(name, chosen, prefix) for name in chosen} | manifests(chosen, prefix)
    written = [out / name for name in texts]
    for path in written:
        path.write_text(texts[path.name], encoding="utf-8")
    return written


def _renamed(name: str, names: list[str], prefix: str) -> str:
    text = (sources() / f"{name}.sv").read_text(encoding="utf-8")
    return re.sub(rf"\b(?:{'|'.join(names)})\b", lambda found: prefix + found[0], text) if prefix else text


def _holds(text: str, inner: str) -> bool:
    return re.search(rf"^\s+{inner}\s+(?:#|u_)", text, re.MULTILINE) is not None


def _code(text: str) -> str:
    return re.sub(r"//[^\n]*", "", text)
