# SPDX-License-Identifier: Apache-2.0
"""Llama-2 on GDDR6-AiM against CENT's simulation: a decoder block of a device, and tokens per second."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, case_folder
from simsparse.validate.cent import CentMachine
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_rows

_FOUR_A100 = 917
"""Tokens per second of Llama-2-70B's decoding on four A100 80 GB with vLLM, as CENT's authors measured."""


@CASES.register("pim-cent")
def pim_cent() -> CaseReport:
    """Nine blocks by commands, each within 5 %."""
    rows = read_rows(case_folder("pim") / "cent.csv", lambda fields: str(fields["Model"]))
    machine = CentMachine()
    found = [(row, machine.predicted(row)) for row in rows]
    points = [CasePoint(_label(row), row.number("PIM latency"), said["PIM latency"], "ms") for row, said in found]
    stages = [(row, said) for row, said in found if row.whole("Pipeline parallelism") == 80]
    return CaseReport(
        "pim-cent",
        "Llama-2 in GDDR6-AiM, block by block",
        "CENT's simulation of Llama-2 on 8, 20 and 32 CXL devices (ASPLOS 2025; results of its repository, commit "
        "8c79786, by the AiM simulator): milliseconds of a decoder block in the memory of one device.",
        "Level 2: the order of commands of its released code on one channel of pim/aim-gddr6, sent in order under the "
        "constraints of the AiM simulator's timing table, without refresh, as there. Accesses to single banks are a "
        "closed form: one column in each tick for all channels. No parameter comes from the results compared with.",
        points,
        tolerance=0.05,
        tables=(CaseTable("Llama-2-70B, 80 blocks in a pipeline over 32 devices", ("", "published", "simulated"),
                          _rates(stages)),
                CaseTable("Energy of a token", ("row", "published", "simulated"),
                          [(_label(row), f"{row.number('Token energy (mJ)'):.0f} mJ",
                            f"{said['Token energy (mJ)']:.0f} mJ") for row, said in found])),
    )  # fmt: skip


def _label(row: Measurement) -> str:
    devices, keys = row.whole("Tensor parallelism"), row.whole("Sequence length")
    return f"{row.text('Model')}, {devices} devices a block, {row.whole('Channels per block')} channels, {keys} keys"


def _rates(stages: Sequence[tuple[Measurement, dict[str, float]]]) -> list[tuple[str, str, str]]:
    """Tokens per second, the mean of rows from 768 to 4,096 keys, alone and over four A100."""
    published = fmean(80e3 / row.number("Token latency (ms)") for row, _ in stages)
    simulated = fmean(80e3 / said["Token latency (ms)"] for _, said in stages)
    return [
        ("tokens/s", f"{published:.0f}", f"{simulated:.0f}"),
        ("over four A100 as measured", f"{published / _FOUR_A100:.2f} x", f"{simulated / _FOUR_A100:.2f} x"),
    ]
