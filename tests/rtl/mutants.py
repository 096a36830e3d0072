# SPDX-License-Identifier: Apache-2.0
"""Faults planted mechanically in SystemVerilog: rules that find places in any module and say what stands there instead.

Left alone: comments, ports, defaults of parameters, the checks of parameters at elaboration and the assertions of
proofs. The rules count on one format (verible's): spaces round binary operators.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

Edit = tuple[int, int, str]
"""Start, end and the text that stands there instead."""
Rule = Callable[[str], Iterator[Edit]]

FLIPS = {
    "&": "|", "|": "&", "&&": "||", "||": "&&", "==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "+": "-", "-": "+", "*": "+", "<<": ">>", ">>": "<<", ">>>": ">>", "^": "|",
}  # fmt: skip
OPENING, CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class Mutant:
    """A module with one fault: what stood on ``line`` and what stands there now."""

    module: str
    rule: str
    line: int
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        """Place and fault in a few words."""
        return f"{self.module}:{self.line} {self.rule}: {self.before} -> {self.after}"


def mutants(path: Path) -> list[Mutant]:
    """Every fault that the rules make in the module of ``path``, no text twice."""
    text = path.read_text(encoding="utf-8")
    code, sized = _code(text), _code(text, sizes=True)
    made: dict[str, Mutant] = {}
    for rule, places in RULES.items():
        for start, end, instead in places(sized if rule in SIZE_RULES else code):
            mutated = text[:start] + instead + text[end:]
            before, after = _shown(text[start:end]), _shown(instead)
            if mutated != text:
                line = text[:start].count("\n") + 1
                made.setdefault(mutated, Mutant(path.stem, rule, line, before, after, mutated))
    return list(made.values())


def sample(found: list[Mutant], count: int) -> list[Mutant]:
    """At most ``count`` mutants of one module, from its rules in turn, in an order that names alone decide."""
    groups: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(found, key=lambda each: _order(each.name)):
        groups[mutant.rule].append(mutant)
    by_turn = zip_longest(*(groups[rule] for rule in sorted(groups, key=lambda rule: _order(found[0].module + rule))))
    turns = [each for turn in by_turn for each in turn if each is not None]
    return sorted(turns[:count], key=lambda each: (each.line, each.name))


def _order(name: str) -> int:
    return zlib.crc32(name.encode())


def _shown(text: str) -> str:
    return " ".join(text.split()) or "nothing"


def _code(text: str, sizes: bool = False) -> str:
    """``text`` with everything that is left alone blanked out, the same length; with ``sizes`` localparams stay, those
    that ports are made of too."""
    patterns = [r"//[^\n]*", r"/\*.*?\*/", r"`ifn?def\b.*?`endif", r"`\w+[^\n]*", r'"[^"\n]*"']
    patterns += [] if sizes else [r"\bmodule\b.*?\n\);", r"\blocalparam\b.*?;"]
    for pattern in patterns:
        text = re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)
    return text


def _matching(code: str, start: int) -> int:
    """Where the bracket that opens at ``start`` closes."""
    depth = 0
    for at in range(start, len(code)):
        depth += (code[at] in OPENING) - (code[at] in CLOSING)
        if depth == 0:
            return at
    raise ValueError(f"no end of {code[start : start + 40]!r}")


def _end_of_expression(code: str, start: int, stops: str) -> int:
    """The first of ``stops`` from ``start`` on that is in no bracket; a bracket that closes what was open stops too."""
    depth = 0
    for at in range(start, len(code)):
        if depth == 0 and (code[at] in stops or code[at] in CLOSING):
            return at
        depth += (code[at] in OPENING) - (code[at] in CLOSING)
    return len(code)


def _assigns(code: str, at: int) -> bool:
    """Whether ``<=`` at ``at`` is an assignment: the first at the level of its statement."""
    line = code[code.rfind("\n", 0, at) + 1 : at]
    outside = re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", line))
    return outside.count("(") == outside.count(")") and not re.search(r"=|\?", outside)


def operators(code: str) -> Iterator[Edit]:
    for found in re.finditer(r"(?<=\s)(&&|\|\||==|!=|<=|>=|<<|>>>|>>|[&|^<>+*-])(?=\s)", code):
        if found[0] != "<=" or not _assigns(code, found.start()):
            yield found.start(), found.end(), FLIPS[found[0]]


def terms(code: str) -> Iterator[Edit]:
    """One side of a logical operator left out."""
    operand = r"[~!]?(?:[\w.]+(?:\[[^\[\]]*\])?|\([^()]*\))"
    for found in re.finditer(rf"\s(?:&&|\|\||&|\|)\s+{operand}(?=[);,}}?]|\s[&|?:])", code):
        yield found.start(), found.end(), ""
    for found in re.finditer(rf"(?:(?<=[({{])|(?<=[&|=?:] )){operand}\s(?:&&|\|\||&|\|)\s", code):
        yield found.start(), found.end(), ""


def negations(code: str) -> Iterator[Edit]:
    for found in re.finditer(r"[~!](?=[\w(])", code):
        if not code.startswith("!rst_ni", found.start()):
            yield found.start(), found.end(), ""


def conditions(code: str) -> Iterator[Edit]:
    for found in re.finditer(r"\bif \(", code):
        end = _matching(code, found.end() - 1)
        inside = code[found.end() : end]
        if inside != "!rst_ni" and not code[end + 1 :].lstrip().startswith("begin :"):
            yield found.end(), end, "1'b1"
            yield found.end(), end, f"!({inside})"


def branches(code: str) -> Iterator[Edit]:
    """The two values of a choice swapped."""
    for found in re.finditer(r"\?", code):
        colon = _end_of_expression(code, found.end(), ":")
        end = _end_of_expression(code, colon + 1, ";,:")
        if colon < end and code[colon] == ":":
            yield found.end(), end, f" {code[colon + 1 : end].strip()} : {code[found.end() : colon].strip()}"


def lost_assignments(code: str) -> Iterator[Edit]:
    for found in re.finditer(r"[\w.]+(?:\[[^;=]*?\])?\s*<= [^;]*;", code):
        if _assigns(code, code.index("<=", found.start())):
            yield found.start(), found.end(), ";"


def off_by_one(code: str) -> Iterator[Edit]:
    for found in re.finditer(r"\b(?:int|genvar) (\w+) = 0; \1 < ([^;]+);", code):
        yield found.start(), found.end(), found[0].replace("= 0;", "= 1;")
        yield found.start(), found.end(), found[0].replace(f"< {found[2]};", f"< {found[2]} - 1;")
    for found in re.finditer(r"\((\w+)([+-])1\)", code):
        yield found.start(), found.end(), f"({found[1]})"
    for found in re.finditer(r"\w+'\((\w+(?: - 1)?)\)", code):
        yield found.start(1), found.end(1), f"{found[1]} - 1"
    for found in re.finditer(r"\+ 1'b1\b", code):
        yield found.start(), found.end(), "+ 2'd2"


def swapped_lanes(code: str) -> Iterator[Edit]:
    """The lanes of a loop taken from the other end."""
    loops = list(re.finditer(r"\bfor \((?:int|genvar) (\w+) = 0; \1 < ([^;]+); [^)]*\)", code))
    for found in re.finditer(r"\[\(?(\w+)(?:\*| *\]|\+:|[+-]1\)\*)", code):
        within = [loop for loop in loops if loop.end() <= found.start() and loop[1] == found[1]]
        if within:
            other = f"({within[-1][2]} - 1 - {found[1]})"
            yield found.start(1), found.end(1), other


def signs(code: str) -> Iterator[Edit]:
    for found in re.finditer(r"\$signed\(", code):
        yield found.start(), found.end(), "$unsigned("
    for found in re.finditer(r"(?<=[?:(=] )-(?=\w)|(?<=[(={])-(?=\w)", code):
        yield found.start(), found.end(), ""


def stuck(code: str) -> Iterator[Edit]:
    """A valid or ready that is always or never there, at its source or where a block takes it."""
    for found in re.finditer(r"\b\w*(?:valid|ready)\w*(?:\[[^\[\]]*\])? *(?:<=|=) ([^;=][^;]*);", code):
        yield found.start(1), found.end(1), "1'b1"
        yield found.start(1), found.end(1), "1'b0"
    for found in re.finditer(r"\.(valid_i|ready_i|rst_ni)\s*(?:\([^()]*\))?(?=[,\s])", code):
        yield found.start(), found.end(), f".{found[1]}(1'b1)"


def reset_values(code: str) -> Iterator[Edit]:
    for found in re.finditer(r"if \(!rst_ni\) (begin\b.*?\bend\b|[^;]*;)", code, flags=re.DOTALL):
        for value in re.finditer(r"(?<=<= )(?:'0|\d+'b0|1'b1)(?=;)", found[1]):
            start = found.start(1) + value.start()
            yield start, start + len(value[0]), "1'b0" if value[0] == "1'b1" else "'1"


def constants(code: str) -> Iterator[Edit]:
    """A literal with its last bit turned, outside of resets."""
    resets = [
        found.span() for found in re.finditer(r"if \(!rst_ni\) (?:begin\b.*?\bend\b|[^;]*;)", code, flags=re.DOTALL)
    ]
    turned = {"1'b0": "1'b1", "1'b1": "1'b0", "'0": "'1", "'1": "'0"}
    for found in re.finditer(r"(?<![\w'])(?:1'b[01]|'[01])(?!\w)", code):
        if not any(start <= found.start() < end for start, end in resets):
            yield found.start(), found.end(), turned[found[0]]


def sizes(code: str) -> Iterator[Edit]:
    """A derived constant, or a parameter of an instance, one more or one less."""
    for found in re.finditer(r"\blocalparam (?:int|logic(?: \[[^\]]*\])?|bit)\s+\w+\s*= ([^;,\n]+?)(?=;|,?\n)", code):
        for other in (f"({found[1]}) + 1", f"({found[1]}) - 1"):
            yield found.start(1), found.end(1), other
    for start in (found.end() for found in re.finditer(r"^\s+\w+ #\(", code, flags=re.MULTILINE)):
        if code[:start].rstrip().endswith("#(") and "module" not in code[code.rfind("\n", 0, start - 1) : start]:
            inside = code[start : _matching(code, start - 1)]
            for found in re.finditer(r"\.\w+\s*\((.+)\)", inside):
                yield start + found.start(1), start + found.end(1), f"({found[1]}) - 1"


def widths(code: str) -> Iterator[Edit]:
    """A register or a wire a bit narrower."""
    for found in re.finditer(r"^\s+(?:logic|wire|reg)(?: signed)?\s+\[([^\[\]:]+):0\]", code, flags=re.MULTILINE):
        yield found.start(1), found.end(1), f"{found[1]} - 1"


def counts(code: str) -> Iterator[Edit]:
    """A number in the text one more."""
    for found in re.finditer(r"(?<![\w'])(\d+'s?d)(\d+)\b", code):
        yield found.start(2), found.end(2), str(int(found[2]) + 1)
    for found in re.finditer(r"- 1'b1\b", code):
        yield found.start(), found.end(), "- 2'd2"


RULES: dict[str, Rule] = {
    "flipped operator": operators, "dropped term": terms, "dropped negation": negations, "condition": conditions,
    "swapped branches": branches, "lost assignment": lost_assignments, "off by one": off_by_one,
    "swapped lanes": swapped_lanes, "wrong sign": signs, "stuck handshake": stuck, "wrong reset": reset_values,
    "wrong constant": constants, "wrong size": sizes, "narrow register": widths, "wrong count": counts,
}  # fmt: skip
SIZE_RULES = {"wrong size"}
"""Rules that see localparams too."""
"""By name, what finds the places for one kind of fault in blanked code."""
