# SPDX-License-Identifier: Apache-2.0
"""Proof of spad_hash_accumulate: a row's keys come out once each, with their sums; it sees faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.test_formal import Proof

MODULES = ("hash_row", "spad_hash_accumulate", "stream_register")


def row(depth: int, key_bits: int, steps: int) -> Proof:
    """All rows, and the start of a next one, that go in and out in ``steps`` cycles."""
    return Proof("hash_row", MODULES, (("Depth", depth), ("KeyWidth", key_bits)), steps=steps)


PROOFS = {"two slots, four keys": row(2, 2, 12), "four slots, four keys": row(4, 2, 10)}
FAULTS = {
    "the sum starts with what was there": ("used ? sums[slot] : '0", "sums[slot]"),
    "the old sum is forgotten": ("used ? sums[slot] : '0", "'0"),
    "every used slot is a hit": ("(keys[slot] == key_q)", "1'b1"),
    "no slot is a hit": ("(keys[slot] == key_q)", "1'b0"),
    "probing stops too soon": ("insert_q & ~found & (&probe_q);", "insert_q & ~found;"),
    "a beat without a pair is stored": ("probing & insert_q & found", "probing & found"),
    "a slot drained twice": ("used_q & ~lowest", "used_q & ~(lowest & {Depth{out_ready}} & ~used_q)"),
    "the last slot is kept back": ("wire last = rest == '0;", "wire last = (rest & (rest - 1'b1)) == '0;"),
    "probing while the row drains": ("pair_valid_q & ~draining_q", "pair_valid_q"),
    "drained under a stall": ("draining_q & out_ready;", "draining_q;"),
}  # fmt: skip


@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS)
def test_proof_holds(proof: Proof, tmp_path: Path) -> None:
    said = proof.said(tmp_path)
    assert proof.proven in said, said[-2000:]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_proof_sees_the_fault(fault: tuple[str, str], tmp_path: Path) -> None:
    proof = PROOFS["two slots, four keys"]
    said = proof.said(tmp_path, ("spad_hash_accumulate", *fault))
    assert proof.proven not in said
    assert "SAT proof finished - model found: FAIL!" in said or "proof did fail" in said, said[-2000:]
