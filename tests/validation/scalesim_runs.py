# SPDX-License-Identifier: Apache-2.0
"""Runs SCALE-Sim on GEMMs and writes a row a run; for an environment of its own, without simsparse.

    python -m venv /tmp/scalesim && /tmp/scalesim/bin/pip install scalesim==3.0.0 "numpy<2"
    /tmp/scalesim/bin/python tests/validation/scalesim_runs.py tests/validation/data/scalesim/runs.csv

makes the committed file (no run takes more than seconds). With ``--layers FILE`` it runs the rows of a CSV with the
columns of ``SETUP`` in place of the committed setups. Traces are not kept.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import tempfile
import time
from pathlib import Path

SETUP = ["dataflow", "rows", "cols", "m", "n", "k", "input_kib", "weight_kib", "output_kib",
         "input_words", "weight_words", "output_words"]  # fmt: skip
COMPUTE = {"cycles_with_prefetch": 1, "cycles": 2, "stalls": 3}
DETAIL = {"sram_input_reads": 3, "sram_weight_reads": 6, "sram_output_writes": 9, "dram_input_start": 10,
          "dram_input_reads": 12, "dram_weight_start": 13, "dram_weight_reads": 15, "dram_output_stop": 17,
          "dram_output_writes": 18}  # fmt: skip

CONFIG = """[general]
run_name = run

[architecture_presets]
ArrayHeight : {rows}
ArrayWidth : {cols}
IfmapSramSzkB : {input_kib}
FilterSramSzkB : {weight_kib}
OfmapSramSzkB : {output_kib}
IfmapOffset : 0
FilterOffset : 10000000
OfmapOffset : 20000000
Bandwidth : {output_words}
Dataflow : {dataflow}
MemoryBanks : 1
ReadRequestBuffer : 32
WriteRequestBuffer : 32

[layout]
IfmapCustomLayout : False
IfmapSRAMBankBandwidth : {input_words}
IfmapSRAMBankNum : 1
IfmapSRAMBankPort : 2
FilterCustomLayout : False
FilterSRAMBankBandwidth : {weight_words}
FilterSRAMBankNum : 1
FilterSRAMBankPort : 2

[sparsity]
SparsitySupport : false
SparseRep : ellpack_block
OptimizedMapping : false
BlockSize : 4
RandomNumberGeneratorSeed : 40

[run_presets]
InterfaceBandwidth: USER
UseRamulatorTrace: False
"""

LAYOUT = "Layer,a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,\nrun," + "1," * 16 + "\n"


def setups() -> list[dict[str, object]]:
    """Small arrays and buffers, ragged shapes, one to eight words a cycle."""
    shapes = [(40, 24, 32), (100, 40, 50), (64, 64, 64), (17, 90, 120)]
    found = []
    for dataflow in ("ws", "os", "is"):
        for m, n, k in shapes:
            found += [(dataflow, 8, 8, m, n, k, 1, 1, 1, words, words, words) for words in (1, 2, 4, 8)]
        found += [
            (dataflow, 8, 4, 100, 40, 50, 2, 1, 1, 4, 4, 4),
            (dataflow, 4, 8, 100, 40, 50, 1, 2, 1, 2, 4, 4),
            (dataflow, 16, 16, 64, 64, 64, 16, 16, 16, 4, 4, 4),
            (dataflow, 16, 16, 120, 48, 80, 32, 32, 32, 1, 2, 4),
            (dataflow, 8, 8, 64, 64, 64, 16, 1, 16, 8, 1, 8),
            (dataflow, 8, 8, 64, 64, 64, 1, 16, 16, 1, 8, 8),
            (dataflow, 8, 8, 64, 64, 64, 16, 16, 1, 8, 8, 1),
        ]
    return [dict(zip(SETUP, values, strict=True)) for values in found]


def run(setup: dict[str, object]) -> dict[str, object]:
    """The setup with what SCALE-Sim reports for it, and seconds."""
    from scalesim.scale_sim import scalesim

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        place = Path(folder)
        (place / "run.cfg").write_text(CONFIG.format(**setup))
        (place / "gemm.csv").write_text("Layer,M,N,K,\nrun,{m},{n},{k},\n".format(**setup))
        (place / "layout.csv").write_text(LAYOUT)
        simulator = scalesim(save_disk_space=True, verbose=False, config=str(place / "run.cfg"),
                             topology=str(place / "gemm.csv"), layout=str(place / "layout.csv"),
                             input_type_gemm=True)  # fmt: skip
        start = time.process_time()
        simulator.run_scale(top_path=folder)
        seconds = time.process_time() - start
        compute = _report(next(place.rglob("COMPUTE_REPORT.csv")))
        detail = _report(next(place.rglob("DETAILED_ACCESS_REPORT.csv")))
    found = {name: round(float(compute[column])) for name, column in COMPUTE.items()}
    found.update({name: round(float(detail[column])) for name, column in DETAIL.items()})
    return {**setup, **found, "seconds": round(seconds, 3)}


def _report(path: Path) -> list[str]:
    return path.read_text().splitlines()[1].split(",")


def main() -> None:
    """Write a CSV of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=Path)
    arguments = parser.parse_args()
    chosen = list(csv.DictReader(arguments.layers.open())) if arguments.layers else setups()
    done = []
    for setup in chosen:
        try:
            done.append(run(setup))
        except Exception as error:
            print(f"{setup}: {type(error).__name__}: {error}", flush=True)
    fields = [*SETUP, *COMPUTE, *DETAIL, *(["seconds"] if arguments.layers else [])]
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(done)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
