# SPDX-License-Identifier: Apache-2.0
"""Every number of every shipped part moves a result, or hw_models/without_effect.yaml says that it does not, and why.

Each number is doubled (or changed as far as its limits allow) and a set of results is computed until one
differs: latency, counts and energy of operators of all kinds, of all committed traces under all stacks,
level 2 on small products, copies, power limits, areas and capacities. A number of a library of kernels is
tried on the first card that has the library.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import chain, product
from typing import Any

import numpy as np
import pytest

import simsparse as ss
from simsparse.config.extends import bases
from simsparse.config.hardware import LINK_PARTS, Connection, System, load_hardware, override_part
from simsparse.config.parts.dram import DramCommands, read_standard
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.memory import MemoryPart
from simsparse.config.parts.pim import PimPart
from simsparse.config.paths import find_part, part_names
from simsparse.config.quantity import Part, Quantity
from simsparse.config.without_effect import listed, without_effect
from simsparse.core import KINDS, DType, KernelCall, Op, Trace, TraceBuilder, ops
from simsparse.devices.base import Device, device_for
from simsparse.devices.dpu import Dpu
from simsparse.devices.pim_attention import AttentionProgram, AttentionShape
from simsparse.devices.pim_layout import UnitLayout
from simsparse.devices.pim_pairs import PairProgram
from simsparse.devices.pim_products import dense_columns, product_steps
from simsparse.devices.storage import Storage
from simsparse.dram import ControllerPolicy, device_of, dram_stream
from simsparse.dram.mapping import MAPPINGS
from simsparse.dram.parts import pim_device
from simsparse.dram.program import run_steps
from simsparse.errors import SimsparseError, SpecError, TraceError
from simsparse.lowering.collectives import collective_fs
from simsparse.lowering.collectives.puts import PutShape, put_seconds
from simsparse.lowering.machine import Machine
from simsparse.lowering.stacks import STACKS, launched_by, stack_of
from simsparse.paths import data_root
from simsparse.testing.fake_machine import link, processor
from simsparse.validate.reference.cent_block import CentDevice, CentPlan, CentShape

FACTORS = ((2, 0.5), (1.1, 0.9))
"""Each number is tried at twice and half its value, one whose limits allow neither closer to it, and 0 at 1."""
LAUNCHED = ("_softmax", "argmax", "gelu", "sort", "index", "index_add_")
DTYPES = ("bf16", "fp32", "int8", "fp8", "fp16", "int4", "fp64", "int16")
FEW = 8
"""Operators of an engine, which walks masks for each, that are costed at once."""
PARTS = [name for name in part_names() if not name.startswith(("systems/", "kernels/"))]
Result = Callable[[], Any]


@cache
def operators(model: str) -> tuple[Op, ...]:
    """Distinct operators of every kind, for parts of one device model; fewer for slow ones."""
    makers = {"gpu": (_examples, _made, _masked, _widened, _launched), "engine": (_small,), "spatial": (_mapped,)}.get(
        model, (_examples, _made, _stored)
    )
    found: dict[Any, Op] = {}
    for op in chain.from_iterable(make() for make in makers):
        found.setdefault(op.signature, op)
    return tuple(found.values())


def _examples() -> Iterator[Op]:
    for kind, dtype in product(KINDS, DTYPES):
        yield from KINDS.get(kind).examples(dtype)


def _small() -> Iterator[Op]:
    yield from (op for op in _examples() if op.dense_macs <= 1 << 27)
    for dtype, m, sparsity in product(DTYPES, (1, 16), ("dense", "2:4", "1:8", "unstructured:0.1")):
        yield ops.linear(m, 256, 512, dtype, weight_sparsity=sparsity)
    for dtype in DTYPES:
        yield ops.linear(400, 512, 2048, dtype, weight_sparsity="unstructured:0.2")


def _mapped() -> Iterator[Op]:
    for width in (2, 9):
        yield ops.conv2d(1, 16, 32, 9, width, 3, 3, padding=1, dtype="int8")
    for m, k in ((18, 64), (300, 4096)):
        yield ops.linear(m, 256, k, "int8")
    yield ops.linear(1, 4096, 4096, "int8")
    yield ops.elementwise(1 << 16, 1 << 16, 1 << 20, "int8")


def _made() -> Iterator[Op]:
    for dtype in DTYPES:
        for m, k in product((1, 4, 16, 128, 1000, 8192), (256, 4096)):
            for sparsity in ("dense", "2:4", "1:4", "unstructured:0.1"):
                yield ops.linear(m, 4096, k, dtype, weight_sparsity=sparsity)
        yield from _attending(dtype)
        for sparsity in ("dense", "2:4"):
            yield ops.linear(8192, 8192, 8192, dtype, weight_sparsity=sparsity)
            yield ops.linear(16, 512, 32768, dtype, weight_sparsity=sparsity)
        yield ops.linear(1000, 4112, 4112, dtype, weight_sparsity="2:4")
        for m, odd in product((1, 4, 300, 8000), (1001, 1002, 1004, 4998)):
            yield ops.linear(m, odd, odd, dtype)
        for tokens, width in product((1, 16, 64, 512, 4096), (1024, 1000, 1001)):
            chosen = [[token % 8, (token + 1) % 8] for token in range(tokens)]
            for label in ("grouped_mm", ""):
                yield ops.moe_ffn(tokens, width, 2 * width, 8, dtype=dtype, routing=chosen, label=label)
        for tokens, experts in product((32, 96, 384, 8192), (2, 128)):
            spread = [[token % experts] for token in range(tokens)]
            yield ops.moe_ffn(tokens, 8192, 8192, experts, dtype=dtype, routing=spread)
        for label, rows, cols in product(LAUNCHED, (64, 1 << 16), (16, 1024, 1 << 15)):
            size = rows * cols * DType(dtype).bits // 8
            yield ops.launched(KernelCall(label, size, size, 5 * rows * cols, DType(dtype), rows, cols))
        for size in (1 << 10, 1 << 20, 1 << 28):
            yield ops.elementwise(size, size, 50 * size, dtype)
            yield ops.elementwise(size, 16, size // 2, dtype)


def _wide_integers() -> tuple[Op, ...]:
    """Products, sums and copies in types that the other lists leave out, and a copy alone."""
    wide = [each for dtype in ("int32", "int64")
            for each in (ops.linear(1, 4096, 4096, dtype), ops.reduce(1, 1 << 20, dtype))]  # fmt: skip
    return (*wide, ops.elementwise(1 << 24, 1 << 24, 0, "int64"))


def _stored() -> Iterator[Op]:
    for m, n in product((1, 64, 1000), (256, 4096)):
        yield ops.linear(m, n, 512, "fp32", weight_sparsity="unstructured:0.1", weight_format="csr")
        yield ops.linear(m, n, 512, "fp32", weight_sparsity="bank512:0.1", weight_format="fan_in")
        for sparsity, form in (("block16:0.1", "bsr"), ("nmg:2:4:4", "nmg")):
            yield ops.linear(m, n, 512, "fp32", weight_sparsity=sparsity, weight_format=form)


def _attending(dtype: str) -> Iterator[Op]:
    sizes = ((1, 1, 64), (1, 1, 1000), (1, 1, 8192), (64, 1, 8192), (1, 512, 512), (1, 300, 300), (8, 2048, 2048))
    for (batch, queries, keys), heads, size in product(sizes, (8, 32), (64, 128, 256)):
        yield ops.attention(batch, 32, heads, size, queries, keys, dtype=dtype)
    yield ops.attention(512, 32, 32, 128, 1, 64, dtype=dtype)


def _masked() -> Iterator[Op]:
    for dtype, block in product(DTYPES, (64, 128)):
        yield ops.attention(1, 32, 8, 128, 512, 512, dtype=dtype, stats={"mask_bytes": 2})
        yield ops.block_sparse_attention(1, 32, 8, 128, 8192, 8192, block, density=0.1, dtype=dtype)
        yield ops.block_sparse_attention(1, 1, 1, 128, 128, 128, block, density=1.0, dtype=dtype)


def _widened() -> Iterator[Op]:
    yield ops.linear(4096, 4096, 4096, "tf32")
    for m in (300, 8000):
        yield ops.linear(m, 4104, 4112, "int8")
    for m, odd in product((4, 300, 8000), (1001, 1002, 1004, 4998)):
        yield ops.linear(m, odd, odd, "tf32")
    for m, k, weights in product((1, 16, 1000), (256, 4096), ("int8", "int4")):
        yield ops.linear(m, 4096, k, "bf16", weight_dtype=weights)


def _launched() -> Iterator[Op]:
    for path in sorted((data_root() / "traces").glob("*.trace")):
        trace = ss.load_trace(path)
        for stack in STACKS:
            try:
                yield from launched_by(trace, stack_of(stack)).ops
            except TraceError:
                continue


def results(part: Part) -> dict[str, Result]:
    """What the numbers of a part may move, each computed when it is called."""
    return _of_a_link(part) if part.kind in LINK_PARTS else _of_a_device(part, device_for(part))


def _of_a_link(part: Part) -> dict[str, Result]:
    pair = System("pair", "", {"a": processor(), "b": processor()}, (Connection("l", part, ("a", "b")),))
    there, back, short = ops.transfer(1 << 20, "a", "b"), ops.transfer(1 << 20, "b", "a"), ops.transfer(1, "a", "b")
    runs = {"one": [there], "row": [short, short], "both ways": [there, back]}
    found = {name: lambda copies=copies: _numbers(_beside(*copies), pair) for name, copies in runs.items()}
    if getattr(part, "collectives", None):
        found["collectives"] = lambda: [_collectives(part, ranks) for ranks in (2, 3, 8)]
        found["puts"] = lambda: _puts(part)
    return found


def _puts(part: Part) -> list[float]:
    """Seconds of one-sided exchanges of few and many rows."""
    puts = part.collectives.puts
    each = product(("dispatch", "combine"), (1, 4096), (0, 4, 24))
    return [] if puts is None else [
        put_seconds(puts, way, PutShape(tokens, 4096, 8, 256, 8, 8, blocks), 1e12) for way, tokens, blocks in each
    ]  # fmt: skip


def _collectives(part: Part, ranks: int) -> list[int]:
    """Femtoseconds of collectives over devices round a hub."""
    names = [f"gpu{i}" for i in range(ranks)]
    links = tuple(Connection(f"l{name}", part, (name, "hub")) for name in names)
    machine = Machine(System("star", "", {**dict.fromkeys(names, processor()), "hub": processor()}, links))
    each = product(("all_reduce", "all_gather", "all_to_all"), [1 << i for i in range(10, 31)], ("bf16", "int8"))
    return [collective_fs(ops.collective(label, size, ranks, group=names, dtype=dtype), machine)
            for label, size, dtype in each]  # fmt: skip


def _of_a_device(part: Part, device: Device) -> dict[str, Result]:
    alone = System("alone", "", {"it": part})
    found: dict[str, Result] = {
        "power at rest": lambda: device.static_watts, "capacity": lambda: device.memory_bytes,
        "area and stated power": lambda: (alone.area_mm2, alone.power_w),
    }  # fmt: skip
    for name, group in _groups(part.name).items():
        found[name] = lambda group=group: _costs(device, group)
    beside = System("beside", "", {"it": part, "a": processor("9 TB")},
                    (Connection("l", link("1 PB/s", "0 us"), ("a", "it")),))  # fmt: skip
    there, back = ([ops.transfer(size, *ends) for size in (1, 1_000_001)] for ends in (("a", "it"), ("it", "a")))
    found |= {
        "read": lambda: _numbers(_beside(*back), beside), "write": lambda: _numbers(_beside(*there), beside),
        "calls": lambda: [device.call_seconds(ops.collective(label, 1, 2)) for label in ("all_reduce", "send_recv")],
    }  # fmt: skip
    if isinstance(part, MemoryPart) and part.dram is not None:
        found |= _of_commands(part, part.dram)
    if isinstance(part, PimPart) and part.dram is not None:
        found["commands"] = lambda: _lockstep(part)
    if isinstance(part, GpuPart):
        found |= {f"{name} {repeats}": lambda trace=trace, repeats=repeats: _numbers(trace, alone, repeats=repeats)
                  for name, trace in _limited().items() for repeats in (1, 100)}  # fmt: skip
        found["rows of host memory"] = lambda: [
            device.far_read_seconds(ops.gather(1000, size), 1e10) for size in (64, 4096)
        ]
        found["eager"] = lambda: _numbers(_called(), alone, stack="eager")
        found["eager 2:4"] = lambda: _numbers(_sparse24(), alone, stack="eager")
    if part.kind == "cpu":
        found["walked"] = lambda: _costs_at(device, _walked(), 2) if not device.supports(_walked()[0]) else None
        found["copies beside work"] = lambda: device.copy_rates
    if isinstance(device, Dpu):
        found["wide integers"] = lambda: _costs(device, _wide_integers())
    if isinstance(device, Storage):
        found["many small reads"] = lambda: device.read_rate(4096, 10_000)
    if part.kind == "accel":
        found |= {f"cycles {i}": lambda op=op: _cycles(device, op) for i, op in enumerate(_products())}
        found["own patterns"] = lambda: _costs(device, _with_patterns_of(part.name))
    return found


def _of_commands(part: MemoryPart, dram: DramCommands) -> dict[str, Result]:
    """Runs of the DRAM core: orders, mappings, refreshes, rows closed after each access, and all channels at once."""
    refreshes = read_standard(dram.standard).refresh
    kinds: list[dict[str, Any]] = [{"pattern": "random", "rw": "mix", "refresh": kind} for kind in refreshes]
    kinds += [{"pattern": "seq", "rw": rw, "mapping": mapping} for rw in ("r", "w", "mix") for mapping in MAPPINGS]
    kinds += [{"pattern": "random", "rw": "mix", "policy": ControllerPolicy(close_after=1), "refresh": kind}
              for kind in refreshes]  # fmt: skip
    kinds += [{"channels": "all"}]
    return {f"commands {i}": lambda kind=kind: _stream(part, kind) for i, kind in enumerate(kinds)}


def _stream(part: MemoryPart, kind: Mapping[str, Any]) -> Any:
    device = device_of(part)
    capacity = device.accesses * device.access_bytes
    run = dram_stream(part, bytes=3000 * device.access_bytes, **({"region": capacity} if len(kind) > 1 else {}), **kind)
    return run.to_dict()


def _lockstep(part: PimPart) -> Any:
    """Commands of three attentions on one channel, of products and accesses of HBM-PIM, or of a block on GDDR6-AiM."""
    assert part.dram is not None
    if part.dram.program == "aim" and part.dram.sums is not None:
        shape = CentShape(256, 1200, 2, 2, 64)
        block = CentDevice(pim_device(part), part.dram.sums.whole, shape, CentPlan(1, 2, 1))
        return [block.run([step]) for step in (("norm",), ("append",), ("weights", 1200, 1200, True))]
    device, shapes = pim_device(part), ((2, 5000, 128), (3, 300, 128), (2, 2000, 80))
    if part.dram.program == "pairs":
        steps = [PairProgram(device).product(128, 2048, 16), PairProgram(device).host(3000, 1000)]
        return [run_steps(device, each, logged=True).log.tolist() for each in steps]
    if part.dram.program == "columns":
        columns = product_steps(
            device, part.dram.unit, dense_columns(UnitLayout(device, part.dram.unit, 2), 100, 65536), 65536, 2, 1, 1
        )
        return run_steps(device, columns, logged=True).log.tolist()
    programs = [AttentionProgram(device, part.dram.unit, AttentionShape(heads, keys, dim, 2, 1))
                for heads, keys, dim in shapes]  # fmt: skip
    return [run_steps(device, program.steps(), logged=True).log.tolist() for program in programs]


@cache
def _able(name: str) -> tuple[Op, ...]:
    """The operators that a shipped part supports."""
    device = device_for(load_hardware(name))
    able = [op for op in operators(device.part.model) if device.supports(op) is None]
    return tuple(sorted(able, key=lambda op: op.dense_macs) if device.part.model == "engine" else able)


@cache
def _groups(name: str) -> dict[str, tuple[Op, ...]]:
    """The operators that a part supports as results have them: at once, or, where each takes long, few at a time."""
    able = _able(name)
    size = FEW if load_hardware(name).model == "engine" else len(able)
    return {f"operators from {first}": able[first : first + size] for first in range(0, len(able), max(size, 1))}


def _beside(*copies: Op) -> Trace:
    builder = TraceBuilder("copies")
    for copy in copies:
        builder.add(copy, deps=[])
    return builder.build()


@cache
def _limited() -> Mapping[str, Trace]:
    return {f"{dtype} GEMM": TraceBuilder("one").add(ops.linear(8192, 8192, 8192, dtype)).build()
            for dtype in ("bf16", "fp32")}  # fmt: skip


@cache
def _called() -> Trace:
    return ss.load_trace(data_root() / "traces" / "cnn-small.trace")


@cache
def _sparse24() -> Trace:
    return TraceBuilder("2:4").add(ops.linear(64, 512, 512, "fp16", weight_sparsity="2:4")).build()


@cache
def _products() -> tuple[Op, ...]:
    sparsities = ("dense", "2:4", "unstructured:0.1")
    return tuple(ops.linear(48, 64, 64, dtype, weight_sparsity=sparsity)
                 for dtype in ("int8", "bf16", "fp16", "fp32") for sparsity in sparsities)  # fmt: skip


@cache
def _with_patterns_of(name: str) -> tuple[Op, ...]:
    """Products whose weights have the patterns that an array skips zeros of."""
    device = device_for(load_hardware(name))
    patterns = getattr(getattr(device.part, "sparsity", None), "patterns", ())
    made = (ops.linear(m, 512, 512, dtype, weight_sparsity=str(pattern))
            for pattern, dtype, m in product(patterns, DTYPES, (1, 512)))  # fmt: skip
    return tuple(op for op in made if device.supports(op) is None)


def _numbers(trace: Trace, system: System, **options: Any) -> Any:
    result = ss.simulate(trace, system, **options)
    return result.latency_s, result.energy_j


def _costs(device: Device, group: Sequence[Op]) -> list[Any]:
    """Latency and joules of each operator."""
    costs, prices = device.cost_arrays(group), device.prices
    joules = sum((counts * prices[action] for action, counts in costs.counts.items()), np.zeros(len(group)))
    return list(zip(costs.latency_s.tolist(), joules.tolist(), strict=True))


def _walked() -> tuple[Op, ...]:
    """Sparse weights that level 2 of a CPU walks, inputs in each of its caches and beyond."""
    return tuple(ops.linear(m, 64, k, "fp32", weight_sparsity="unstructured:0.1", weight_format="csr")
                 for m, k in ((1, 512), (16, 4096), (256, 4096)))  # fmt: skip


def _costs_at(device: Device, group: Sequence[Op], level: int) -> list[float]:
    return [cost.latency_s for cost in device.costs(group, level)]


def _cycles(device: Device, op: Op) -> Any:
    if device.supports(op):
        return None
    found = device.cycles(op)
    return found.cycles, found.utilization, dict(found.counts), device.costs([op], 2)[0].latency_s


def _value(result: Result) -> Any:
    """The result, or the message of the error that a model answers with: then it reads the number."""
    try:
        return result()
    except SimsparseError as error:
        return str(error)


class Probe:
    """Results of a part as it is shipped. What a number of the same section has moved is tried first."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._results, self._known = results(part), dict[str, Any]()
        self._hints = defaultdict[str, list[str | Op]](list)

    def moves(self, path: str, number: Quantity) -> bool:
        """Whether a result differs when the number at ``path`` does."""
        return any(self._moved(path, part) for part in self._changed(path, number))

    def _moved(self, path: str, part: Part) -> bool:
        changed, hints = results(part), self._hints[path.rpartition(".")[0]]
        if any(self._moved_op(part, op) for op in hints if isinstance(op, Op)):
            return True
        for name in dict.fromkeys([*(hint for hint in hints if isinstance(hint, str)), *self._results]):
            found, shipped = _value(changed[name]), self._as_shipped(name)
            if found != shipped:
                hints.insert(0, next(self._apart(name, found, shipped), name))
                return True
        return False

    def _apart(self, name: str, found: Any, shipped: Any) -> Iterator[Op]:
        """The operators of a group whose costs differ."""
        if name.startswith("operators") and not isinstance(found, str):
            yield from (op for op, *pair in zip(_groups(self.part.name)[name], found, shipped, strict=True)
                        if pair[0] != pair[1])  # fmt: skip

    def _moved_op(self, part: Part, op: Op) -> bool:
        """Whether ``op`` costs something else."""
        found, shipped = (_value(lambda each=each: _costs(device_for(each), [op])) for each in (part, self.part))
        return bool(found != shipped)

    def _as_shipped(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = _value(self._results[name])
        return self._known[name]

    def _changed(self, path: str, number: Quantity) -> list[Part]:
        """The part with the number changed up and down, as far as its limits allow."""
        for factors in FACTORS:
            found = []
            for factor in factors:
                try:
                    value = number.si * factor or 1
                    value = round(value) if number.unit == "" and number.si == round(number.si) > 9 else value
                    part = override_part(self.part, {path: f"{value!r} {number.unit}".strip()})
                    results(part)
                except SpecError:
                    continue
                found.append(part)
            if found:
                return found
        raise AssertionError(f"{self.part.name}: {path} can't be changed")


def numbers(part: Part) -> dict[str, Quantity]:
    """Every number of a part, those of a library of kernels at the first card that has it, and of a part that extends
    another, those alone that differ from the other's."""
    first = not isinstance(part, GpuPart) or part.name == _first_with(part.kernels.name, part.architecture)
    documents = list(bases(find_part(part.name)))
    taken = dict(load_hardware(documents[0].data["extends"]).quantities()) if len(documents) > 1 else {}
    return {path: number for path, number in part.quantities() if (first or not path.startswith("kernels."))
            and (path not in taken or taken[path].si != number.si)}  # fmt: skip


@cache
def _first_with(library: str, architecture: str) -> str:
    cards = (load_hardware(name) for name in PARTS if name.startswith("gpu/"))
    return next(card.name for card in cards if isinstance(card, GpuPart)
                and (card.kernels.name, card.architecture) == (library, architecture))  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_a_number_moves_a_result_or_is_named(name: str) -> None:
    part = load_hardware(name)
    probe, tried = Probe(part), numbers(part)
    unmoved = {path for path, number in tried.items() if not probe.moves(path, number)}
    assert unmoved == {path for path in without_effect(part) if path in tried}


def test_every_line_of_the_list_fits_a_number_of_a_part() -> None:
    parts = [load_hardware(name) for name in PARTS]
    for pattern, paths in listed().items():
        found = {path for part in parts if fnmatchcase(part.name, pattern) for path, _ in part.quantities()}
        assert [path for path in paths if not any(fnmatchcase(each, path) for each in found)] == []
