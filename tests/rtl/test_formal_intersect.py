# SPDX-License-Identifier: Apache-2.0
"""Proofs of bitmap_intersect: as many matches out as go in, with the right offsets; each proof sees its faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.test_formal import Proof

MODULES = ("bitmap_intersect", "stream_register")


def counts(width: int, matches: int) -> Proof:
    """Over all time: matches and tiles out are those that came in."""
    settings = (("Width", width), ("Matches", matches))
    return Proof("bitmap_intersect", MODULES, settings, macro="PROVE_JOIN")


def offsets(width: int) -> Proof:
    """A tile's beats, for as long as its ``width`` matches take with as many stalls."""
    return Proof("intersect_offsets", ("intersect_offsets", *MODULES), (("Width", width),), steps=2 * width + 4)


PROOFS = {
    "counts-4-1": counts(4, 1), "counts-8-1": counts(8, 1), "counts-8-3": counts(8, 3),
    "offsets-4": offsets(4), "offsets-8": offsets(8),
}  # fmt: skip
FAULTS = {
    "a match twice": (counts(4, 1), ("rest[i] = 1'b0;", "rest[i] = pending_q[0];")),
    "a tile over another": (counts(4, 1), ("ready_o = ~busy_q | done;", "ready_o = ~busy_q | out_ready;")),
    "a tile that never ends": (counts(4, 1), ("(busy_q & ~done)", "busy_q")),
    "one beat too many": (counts(8, 1), ("wire last = rest == '0;", "wire last = pending_q == '0;")),
    "matches of A alone": (counts(8, 1), ("<= bitmap_a_i & bitmap_b_i;", "<= bitmap_a_i;")),
    "a match lost in a stall": (counts(8, 3), ("else if (out_ready) begin", "else if (busy_q) begin")),
    "two lanes, one match": (counts(8, 3), ("== OffsetWidth'(lane)", "== OffsetWidth'(lane / 2)")),
    "bits in place of their sum": (offsets(8), ("] + ranks[(i", "] | ranks[(i")),
    "sum that skips a bit": (offsets(8), ("i > distance", "i > distance + 1")),
    "A's offset for B": (offsets(4), ("= rank_b[i", "= rank_a[i")),
}  # fmt: skip


@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
def test_proof_holds(proof: Proof, tmp_path: Path) -> None:
    said = proof.said(tmp_path)
    assert proof.proven in said, said[-2000:]


@pytest.mark.parametrize(("proof", "fault"), FAULTS.values(), ids=FAULTS)
def test_proof_sees_the_fault(proof: Proof, fault: tuple[str, str], tmp_path: Path) -> None:
    said = proof.said(tmp_path, ("bitmap_intersect", *fault))
    assert proof.proven not in said
    assert "SAT proof finished - model found: FAIL!" in said or "proof did fail" in said, said[-2000:]
