# SPDX-License-Identifier: Apache-2.0
"""nm_gemm_axi in a small system: the C driver on plain AXI runs pruned layers, with and without stalls."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from simsparse.paths import data_root
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.blocks.requantise import requantised
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.build import simulator
from simsparse.rtl.gemm_images import gemm_stream
from simsparse.rtl.regmap import REGISTERS, files
from simsparse.rtl.toolchain import compiler, sources

BLOCK = NMGemmTop(NMSystolicArray(4, 4, 2, 4), 16)
SOC = Path(__file__).parent / "driver" / "soc.cpp"
DRIVER = sources() / "driver"
OK, STANDSTILL = 0, 4


@dataclass(frozen=True)
class Layer:
    """Activations (m, k), pruned weights (n, k), and per output bias and scale, or None for plain sums."""

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None = None
    scale: np.ndarray | None = None
    zero: int = 0
    relu: bool = False


@dataclass(frozen=True)
class Said:
    """What came out: (tlast, tkeep, bytes) a beat, and (result, cycles) a repetition."""

    beats: list[tuple[int, int, bytes]]
    results: list[tuple[int, int]]


def words(*numbers: int) -> bytes:
    return np.array([number & 0xFFFFFFFF for number in numbers], "<u4").tobytes()


def played(layer: Layer, spill: int, seed: int = 0, repetitions: int = 1, lost: int = 0) -> Said:
    stream = gemm_stream(BLOCK, layer.x, layer.w)
    beats, array = stream.beats, BLOCK.array
    tokens, folds, tiles = beats["reg_data"][:3, 0].tolist()
    told = [words(tokens, folds, tiles, 0, 0, 0, 0, layer.scale is not None, layer.relu, layer.zero, 200, seed,
                  repetitions, lost)]  # fmt: skip
    for name in ("weight", "activation"):
        data, last = (beats[f"s_axis_{name}_{part}"].astype(np.uint8) for part in ("tdata", "tlast"))
        told += [words(*data.shape), data.tobytes(), last.tobytes()]
    channels = np.zeros((0, 8 * array.cols), np.uint8)
    if layer.bias is not None and layer.scale is not None:
        rows = np.stack([layer.bias.astype("<i4").view("<u4"), layer.scale.astype("<f4").view("<u4")], axis=1)
        channels = np.pad(rows, [(0, -len(rows) % array.cols), (0, 0)]).reshape(tiles, -1).view(np.uint8)
    told += [words(*channels.shape), channels.tobytes()]
    parameters = {**BLOCK.parameters, "Spill": spill}
    program = simulator(
        f"soc-{spill}", "nm_gemm_axi", parameters, [SOC, DRIVER / "nm_gemm.c"],
        [f"-I{DRIVER}", f"-DRESULT_BYTES={4 * array.cols}"],
    )  # fmt: skip
    done = subprocess.run([str(program)], input=b"".join(told), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    out = [(int(line[0]), int(line[1], 16), bytes.fromhex(line[2])) for line in lines if line[0] != "result"]
    return Said(out, [(int(line[1]), int(line[3])) for line in lines if line[0] == "result"])


def sums(said: Said, shape: tuple[int, int]) -> np.ndarray:
    m, n = shape
    raw = np.frombuffer(b"".join(beat[2] for beat in said.beats), "<i4").reshape(-1, m, BLOCK.array.cols)
    return raw.transpose(1, 0, 2).reshape(m, -1)[:, :n]


def octets(said: Said, shape: tuple[int, int]) -> np.ndarray:
    m, n = shape
    cols = BLOCK.array.cols
    assert {beat[1] for beat in said.beats} == {(1 << cols) - 1}
    raw = np.frombuffer(b"".join(beat[2][:cols] for beat in said.beats), np.int8).reshape(-1, m, cols)
    return raw.transpose(1, 0, 2).reshape(m, -1)[:, :n].astype(np.int64)


def layer(m: int = 13, n: int = 10, k: int = 48) -> Layer:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (n, k))
    w[:, np.arange(k) % 4 >= 2] = 0
    return Layer(x, w)


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize(("spill", "seed"), [(1, 0), (1, 1), (1, 7), (0, 0), (0, 1)])
def test_sums_of_a_pruned_layer(spill: int, seed: int) -> None:
    """Twice; a spill register at the streams in costs a cycle."""
    case = layer()
    said = played(case, spill, seed, repetitions=2)
    want = case.x @ case.w.T
    half = len(said.beats) // 2
    for part in (said.beats[:half], said.beats[half:]):
        assert (sums(replace_beats(said, part), want.shape) == want).all()
        assert [beat[0] for beat in part] == [0] * (half - 1) + [1]
    assert {beat[1] for beat in said.beats} == {(1 << 16) - 1}
    assert [result for result, _ in said.results] == [OK, OK]
    if not seed:
        assert said.results[0][1] == 3 * 3 * 13 + 4 + 4 + 4 - 2 + spill


def replace_beats(said: Said, beats: list[tuple[int, int, bytes]]) -> Said:
    return replace(said, beats=beats)


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize(("spill", "seed"), [(1, 0), (1, 3), (0, 2)])
@pytest.mark.parametrize("relu", [False, True])
def test_requantised_results_are_the_models(spill: int, seed: int, relu: bool) -> None:
    case, rng = layer(), np.random.default_rng(1)
    scale = rng.uniform(0.001, 0.008, 10).astype(np.float32)
    case = replace(case, bias=rng.integers(-9000, 9000, 10), scale=scale, zero=-7, relu=relu)
    want = requantised(case.x @ case.w.T + case.bias, scale, np.array([[-7]]), np.array([[relu]]), 8)
    assert (octets(played(case, spill, seed), want.shape) == want).all()
    assert (want == 127).any() and (want == (-7 if relu else -128)).any()


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("spill", [1, 0])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_lost_beat_is_told_and_the_next_gemm_is_right(spill: int, seed: int) -> None:
    """The driver sees the standstill, aborts, and runs the GEMM again: nothing of the first is left in any buffer."""
    case = layer()
    said = played(case, spill, seed, repetitions=2, lost=1)
    want = case.x @ case.w.T
    assert [result for result, _ in said.results] == [STANDSTILL, OK]
    whole = -(-10 // 4) * 13
    again = said.beats[-whole:]
    assert (sums(replace_beats(said, again), want.shape) == want).all()
    # Of the first GEMM's last tile the token without its beat is missing, nothing else.
    assert len(said.beats) - whole == whole - 1
    assert (
        sums(replace_beats(said, [*said.beats[: whole - 1], (0, 0, bytes(16))]), want.shape)[:-1] == want[:-1]
    ).all()


@pytest.mark.torch
@pytest.mark.usefixtures("_simulator")
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("relu", [False, True])
def test_requantised_results_are_pytorchs(relu: bool) -> None:
    """torch.ops.quantized.linear per channel on FBGEMM, quint8 out. Activations of seven bits: FBGEMM adds pairs of
    products in 16 bits."""
    import torch

    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no FBGEMM")
    case, before = layer(), torch.backends.quantized.engine
    x, w = np.abs(case.x) % 128, np.clip(case.w, -63, 63)
    generator = torch.Generator().manual_seed(0)
    steps = torch.rand(len(w), generator=generator, dtype=torch.float64) * 0.02 + 0.001
    inner, outer, zero = 0.05, 0.17, 101
    torch.backends.quantized.engine = "fbgemm"
    try:
        qx = torch.quantize_per_tensor(torch.from_numpy(x).float() * inner, inner, 0, torch.quint8)
        qw = torch.quantize_per_channel(
            torch.from_numpy(w) * steps[:, None].float(), steps, torch.zeros(len(w), dtype=torch.long), 0, torch.qint8
        )
        assert (qx.int_repr().numpy() == x).all() and (qw.int_repr().numpy() == w).all()
        packed = torch.ops.quantized.linear_prepack(qw, None)
        run = torch.ops.quantized.linear_relu if relu else torch.ops.quantized.linear
        want = run(qx, packed, outer, zero).int_repr().numpy().astype(np.int64)
    finally:
        torch.backends.quantized.engine = before
    scale = (np.float32(inner) * steps.numpy().astype(np.float32) / np.float32(outer)).astype(np.float32)
    case = Layer(x, w, np.zeros(len(w), np.int64), scale, zero - 128, relu)
    assert (octets(played(case, 1), want.shape) + 128 == want).all()
    assert len(np.unique(want)) > 40


def test_the_driver_is_c99_without_a_warning() -> None:
    command = [str(compiler()), "-x", "c", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    done = subprocess.run([*command, str(DRIVER / "nm_gemm.c")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_made_from_the_register_map_is_up_to_date() -> None:
    """Remake it with: python -m simsparse.rtl.regmap"""
    stale = [path.name for path, text in files(data_root()).items() if path.read_text(encoding="utf-8") != text]
    assert not stale


def test_fields_of_a_register_do_not_overlap() -> None:
    for register in REGISTERS:
        masks = [field.mask for field in register.fields]
        assert sum(masks) == np.bitwise_or.reduce(masks or [0])
