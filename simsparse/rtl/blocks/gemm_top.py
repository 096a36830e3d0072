# SPDX-License-Identifier: Apache-2.0
"""nm_gemm_top: whole GEMMs, asked for through registers, from weight and activation streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints, Mask
from simsparse.dataflow.handshake.gemm_stream import GemmHandshakes, GemmSides, Request, gemm_handshakes
from simsparse.rtl.block import (
    BLOCKS,
    Cycles,
    Expected,
    RtlBlock,
    corner_bins,
    covered_corners,
    covered_patterns,
    pattern_bins,
)  # fmt: skip
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.gemm_requests import ERRORS, EngineShape, Register, RequestProgram, busy, program, reads, requested
from simsparse.rtl.stimulus import positions, signed
from simsparse.rtl.stream import DrivenStream
from simsparse.rtl.vectors import WORD_BITS, Beats, Channel, Field, pack, unpack, words, wrapped

ODD_SHARE = 0.01
"""Fold ends whose tlast is wrong, and weight words whose indexes are in any order."""


@dataclass(frozen=True)
class NMGemmTop(RtlBlock):
    """rtl/nm_gemm_top.sv"""

    array: NMSystolicArray
    max_tokens: int
    module: ClassVar[str] = "nm_gemm_top"
    tied: ClassVar[Mapping[str, str]] = {"interrupt_o": "", "busy_o": "", "abort_o": "", "output_o": ""}

    @property
    def parameters(self) -> Mapping[str, int]:
        shape = {name: value for name, value in self.array.parameters.items() if name != "OutputStationary"}
        return {**shape, "MaxTokens": self.max_tokens}

    @property
    def shape(self) -> EngineShape:
        """What its registers know of it."""
        return EngineShape(self.array.rows, self.array.cols, self.array.n, self.array.m, self.max_tokens)

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("s_axis_activation_tdata", 8, -(-self._activation.width // 8)), Field("s_axis_activation_tlast", 1)
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (
            Field("m_axis_result_tdata", 8, -(-self._sums.width // 8)), Field("m_axis_result_tlast", 1),
            Field("m_axis_result_tuser", 1),
        )  # fmt: skip

    @property
    def side_inputs(self) -> tuple[Channel, ...]:
        weights = (Field("s_axis_weight_tdata", 8, self._weight_bytes), Field("s_axis_weight_tlast", 1))
        requests = (Field("reg_write", 1), Field("reg_address", 4), Field("reg_data", 32))
        return (Channel("s_axis_weight_t", weights), Channel("reg_", requests))

    @property
    def side_outputs(self) -> tuple[Channel, ...]:
        return (Channel("response_", (Field("response_data", 32),)),)

    @property
    def channels_in(self) -> tuple[Channel, ...]:
        return (Channel("s_axis_activation_t", self.inputs), *self.side_inputs)

    @property
    def channels_out(self) -> tuple[Channel, ...]:
        return (Channel("m_axis_result_t", self.outputs), *self.side_outputs)

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """A tile is a fold; GEMMs of a few folds each, until there are ``tiles`` of them. Beats of all that is asked
        for: what does not run is taken out when the stalls are known (``fitted``)."""
        asked = requested(rng, tiles, self.shape)
        plan = program(asked, self.shape)
        count, folds = int(plan.words(self.array.rows).sum()), plan.lengths.size
        index = positions(rng, count * self.array.cols, self.array.n, self.array.m).reshape(count, -1)
        odd = rng.random((count, 1)) < ODD_SHARE
        index = np.where(odd, rng.integers(0, self.array.m, index.shape), index)
        return {
            **asked,
            **self.memory_images(
                signed(rng, (int(plan.tokens.sum()), self._activation.lanes), self.array.bits),
                signed(rng, (count, self._parts[0].lanes), self.array.weight_width), index, plan,
                rng.random(folds) < ODD_SHARE, rng.random(folds) < ODD_SHARE,
            ),
        }  # fmt: skip

    def memory_images(
        self, activations: Ints, weights: Ints, index: Ints, plan: RequestProgram,
        odd_words: Mask | None = None, odd_tokens: Mask | None = None,
    ) -> dict[str, Ints]:  # fmt: skip
        """The beats of both streams for what ``plan`` asks: activations (tokens of all folds, rows * m), weights and
        index (words, cols * n). tlast is wrong at the ends of odd folds; where folds are skipped, it comes a word
        early there as well."""
        rows, lengths = self.array.rows, plan.lengths
        ends = [np.cumsum(lengths) - 1, np.arange(1, lengths.size + 1) * rows - 1]
        lasts = [np.zeros((len(beats), 1), np.int64) for beats in (activations, weights)]
        closes = np.array([not job.sent or fold == count - 1
                           for job in plan.jobs for count in job.folds for fold in range(count)], np.bool_)  # fmt: skip
        skips = np.repeat([bool(job.sent) for job in plan.jobs], [sum(job.folds) for job in plan.jobs])
        lasts[0][ends[0], 0] = 1 if odd_tokens is None else ~odd_tokens
        if odd_words is None:
            lasts[1][ends[1], 0] = closes
        else:
            lasts[1][ends[1], 0] = closes & ~(odd_words & ~skips)
            if rows > 1:
                lasts[1][ends[1][odd_words & skips] - 1, 0] = 1
        return {
            "s_axis_activation_tdata": self._as_bytes((self._activation,), {self._activation.name: activations}),
            "s_axis_activation_tlast": lasts[0],
            "s_axis_weight_tdata": self._as_bytes(self._parts, {"weight": weights, "index": index}),
            "s_axis_weight_tlast": lasts[1],
        }  # fmt: skip

    def fitted(self, stream: DrivenStream) -> DrivenStream:
        """``stream`` with the beats that are taken, and with requests offered when the driver offers them: those that
        it holds, once no GEMM runs. An abort and a start that is refused leave beats of theirs to their sources."""
        if "held" not in stream.beats:
            return stream
        plan = program(stream.beats, self.shape)
        at = self._handshakes(stream, plan)
        took = at.taken
        words, tokens = (
            np.concatenate([np.arange(first, first + count) for first, count in zip(firsts, counts, strict=True)])
            for firsts, counts in (
                (_before(plan.words(self.array.rows)), took[:, 0]), (_before(plan.tokens), took[:, 1]),
            )
        )  # fmt: skip
        kept = {"s_axis_weight_t": words, "s_axis_activation_t": tokens}
        beats = {
            name: next((rows[which] for prefix, which in kept.items() if name.startswith(prefix)), rows)
            for name, rows in stream.beats.items() if name != "held"
        }  # fmt: skip
        offers = np.zeros(int(at.offered[-1]) + 1, np.bool_)
        offers[at.offered] = True
        return replace(stream, beats=beats, count=tokens.size, side_offers=(stream.side_offers[0], offers))

    def expected(self, beats: Beats) -> Expected:
        """What results and answers are when nothing stalls; ``predicted`` says what they are when something does."""
        always = np.ones(1, np.bool_)
        stream = DrivenStream(beats, len(beats["reg_write"]), always, always, (always, always), (always,))
        return self.predicted(stream)[0]

    def predicted(self, stream: DrivenStream) -> tuple[Expected, Cycles]:
        plan = program(stream.beats, self.shape)
        at = self._handshakes(stream, plan)
        results, last, closes = self._results(stream.beats, plan, at.taken)
        faults = self._faults(stream.beats, plan, at)
        outputs = {
            "m_axis_result_tdata": self._as_bytes((self._sums,), {"sums": wrapped(results, self.array.acc_bits)}),
            "m_axis_result_tlast": last, "m_axis_result_tuser": closes,
            "response_data": reads(stream.beats, at, faults, self.shape).reshape(-1, 1),
        }  # fmt: skip
        met = frozenset(self._met(plan, at) | {f"error {name}" for name, cycles in faults.items() if cycles.size})
        cycles = Cycles(at.activations, at.results, (at.weights, at.requests), (at.responses,), met)
        return Expected(outputs, np.ones(len(results), np.bool_)), cycles

    def sums(self, outputs: Beats) -> Ints:
        """Sums (results, cols) of the result beats."""
        return self._numbers((self._sums,), outputs["m_axis_result_tdata"])["sums"]

    @property
    def bins(self) -> frozenset[str]:
        numbers = corner_bins((self._activation, self._parts[0]))
        registers = {f"read {register.name}" for register in Register} | {"read nothing", "write nothing"}
        return frozenset(numbers | pattern_bins(self.array.n, self.array.m) | registers)

    @property
    def timed_bins(self) -> frozenset[str]:
        modes = {f"dense={dense} serial={serial} skip={skip}" for dense in (0, 1) for serial in (0, 1)
                 for skip in (0, 1)}  # fmt: skip
        kept = {f"kept={kept}" for kept in range(1, self.array.n + 1)}
        errors = {f"error {name}" for name in ERRORS} - ({"error metadata"} if self.array.n == 1 else set())
        sizes = {"one token", "most tokens", "one fold", "folds", "one tile", "tiles"}
        ways = {
            "a read while a GEMM runs", "a write while a GEMM runs", "a read afterwards", "an answer waits", "an abort",
            "an abort of nothing", "a result outlives its GEMM", "serial folds wait", "folds overlap",
        }  # fmt: skip
        return frozenset(modes | kept | errors | sizes | ways)

    def timed_covered(self, beats: Beats, at: Cycles) -> set[str]:
        del beats
        return set(at.met)

    def _met(self, plan: RequestProgram, at: GemmHandshakes) -> set[str]:
        runs, read = busy(at.states), plan.kinds == Request.READ
        began = at.ends >= 0
        aborts = (plan.kinds == Request.ABORT) & runs
        words = np.split(at.weights, np.cumsum(at.taken[:, 0])[:-1])
        tokens = np.split(at.activations, np.cumsum(at.taken[:, 1])[:-1])
        early = [
            (word[rows] <= token[job.tokens - 1], job.serial)
            for word, token, job in zip(words, tokens, plan.jobs, strict=True)
            if word.size > (rows := self.array.rows) and token.size >= job.tokens
        ]
        whole = np.array([job.tokens * job.tiles for job in plan.jobs], np.int64)
        last = np.cumsum(at.taken[:, 2])[at.taken[:, 2] > 0] - 1
        late = at.results[last] > at.ends[at.taken[:, 2] > 0]
        found = {
            "a read while a GEMM runs": (runs & read).any(), "a write while a GEMM runs": (runs & ~read).any(),
            "a read afterwards": (~runs & read)[plan.kinds.argmax() :].any(), "an abort": aborts.any(),
            "an abort of nothing": ((plan.kinds == Request.ABORT) & ~runs).any(),
            "an answer waits": (at.responses > at.requests[read] + 1).any(),
            "a result outlives its GEMM": late.any() and (whole[began] > at.taken[began, 2]).any(),
            "serial folds wait": any(serial and not met for met, serial in early),
            "folds overlap": any(met and not serial for met, serial in early),
        }  # fmt: skip
        return {name for name, met in found.items() if met} | plan.covered(self.max_tokens, began)

    def covered(self, beats: Beats) -> set[str]:
        numbers = self._numbers(self._parts, beats["s_axis_weight_tdata"])
        index = numbers["index"].reshape(-1, self.array.n)
        ascending = index[(np.diff(index, axis=1) > 0).all(axis=1)]
        activations = self._numbers((self._activation,), beats["s_axis_activation_tdata"])
        found = covered_corners((self._activation, self._parts[0]), {**numbers, **activations})
        return found | covered_patterns(ascending, self.array.m) | set(program(beats, self.shape).met)

    @property
    def _activation(self) -> Field:
        return Field("activation", self.array.bits, self.array.rows * self.array.m, signed=True)

    @property
    def _sums(self) -> Field:
        return Field("sums", self.array.acc_bits, self.array.cols, signed=True)

    @property
    def _parts(self) -> tuple[Field, Field]:
        """What a weight word is made of."""
        _, weight, index = self.array.side_inputs[0].fields
        return weight, index

    @property
    def _weight_bytes(self) -> int:
        return -(-sum(part.width for part in self._parts) // 8)

    def _handshakes(self, stream: DrivenStream, plan: RequestProgram) -> GemmHandshakes:
        sides = GemmSides(
            stream.side_offers[1], stream.side_offers[0], stream.offers, stream.side_accepts[0], stream.accepts
        )
        available = tuple(len(stream.beats[f"s_axis_{name}_tlast"]) for name in ("weight", "activation"))
        array = self.array
        return gemm_handshakes(
            sides, plan.kinds, plan.jobs, array.rows, array.cols, array.pipe_stages, plan.held, plan.timeouts,
            (available[0], available[1]),
        )  # fmt: skip

    def _as_bytes(self, fields: tuple[Field, ...], beats: Beats) -> Ints:
        width = sum(part.width for part in fields)
        packed = pack(fields, beats, len(beats[fields[0].name]))
        return packed.view(np.uint8)[:, : -(-width // 8)].astype(np.int64)

    def _numbers(self, fields: tuple[Field, ...], data: Ints) -> dict[str, Ints]:
        """The numbers in beats of whole bytes."""
        whole = np.zeros((len(data), words(fields) * WORD_BITS // 8), np.uint8)
        whole[:, : data.shape[1]] = data
        return unpack(fields, whole.view(np.uint32))

    def _results(self, beats: Beats, plan: RequestProgram, took: Ints) -> tuple[Ints, Ints, Ints]:
        """Results of every job, as many as left, and which of them end their GEMM and their tile."""
        numbers = self._numbers(self._parts, beats["s_axis_weight_tdata"])
        tokens = self._numbers((self._activation,), beats["s_axis_activation_tdata"])["activation"]
        which = np.repeat(np.arange(len(plan.jobs)), took[:, 0])
        dense, lane = plan.dense[which, None], np.arange(numbers["weight"].shape[1]) % self.array.n
        unused = (lane >= plan.kept[which, None]) & (dense == 0)
        weights = np.where(unused, 0, numbers["weight"])
        groups = self.array.weights({"weight": weights, "index": numbers["index"], "dense": dense})
        rows = [np.zeros((0, self.array.cols), np.int64)]
        last, closes = [np.zeros((0, 1), np.int64)], [np.zeros((0, 1), np.int64)]
        for job, place in zip(plan.jobs, np.cumsum(took, axis=0) - took, strict=True):
            taken = took[len(rows) - 1]
            matrices = _folds(groups[place[0] : place[0] + taken[0]], sum(job.folds), self.array.rows)
            sums = _tiles(tokens[place[1] : place[1] + taken[1]], matrices, job.folds, job.tokens)
            ends = np.arange(len(sums)) == len(sums) - 1
            rows.append(sums[: taken[2]])
            last.append(ends[: taken[2], None].astype(np.int64))
            closes.append(((np.arange(taken[2]) + 1) % job.tokens == 0)[:, None].astype(np.int64))
        return np.concatenate(rows), np.concatenate(last), np.concatenate(closes)

    def _odd(self, beats: Beats, plan: RequestProgram, took: Ints) -> dict[str, Mask]:
        """Which weight words and activation beats raise which error flag."""
        index = self._numbers(self._parts, beats["s_axis_weight_tdata"])["index"]
        index = index.reshape(-1, self.array.cols, self.array.n)
        job, token_job = (np.repeat(np.arange(len(plan.jobs)), took[:, i]) for i in (0, 1))
        used = np.arange(1, self.array.n) < plan.kept[job, None]
        descends = ((np.diff(index, axis=2) <= 0) & used[:, None, :]).any(axis=(1, 2)) & (plan.dense[job] == 0)
        word = np.arange(job.size) - _before(took[:, 0])[job]
        token = np.arange(token_job.size) - _before(took[:, 1])[token_job]
        row_last = word % self.array.rows == self.array.rows - 1
        token_last = (token + 1) % np.array([each.tokens for each in plan.jobs], np.int64)[token_job] == 0
        marked, ended = (beats[f"s_axis_{name}_tlast"][:, 0] == 1 for name in ("weight", "activation"))
        skips = np.array([bool(each.sent) for each in plan.jobs], np.bool_)[job]
        return {
            "weights' tlast": np.where(skips, marked & ~row_last, marked != row_last),
            "activations' tlast": ended != token_last, "metadata": np.asarray(descends, np.bool_),
        }  # fmt: skip

    def _faults(self, beats: Beats, plan: RequestProgram, at: GemmHandshakes) -> dict[str, Ints]:
        """Cycles in which each error flag is raised."""
        odd = self._odd(beats, plan, at.taken)
        refused = (plan.kinds == Request.REFUSED) & ~busy(at.states)
        return {
            "sizes": at.requests[refused], "weights' tlast": at.weights[odd["weights' tlast"]],
            "activations' tlast": at.activations[odd["activations' tlast"]], "metadata": at.weights[odd["metadata"]],
            "start while busy": at.clashes, "timeout": at.timeouts,
        }  # fmt: skip


def _before(counts: Ints) -> Ints:
    """How many come before each."""
    return np.cumsum(counts) - counts


def _folds(groups: Ints, folds: int, rows: int) -> Ints:
    """Weights (words, cols, m) of one job as matrices (folds, rows * m, cols); what was not sent is zero."""
    whole = np.zeros((folds * rows, *groups.shape[1:]), np.int64)
    whole[: len(groups)] = groups
    return whole.reshape(folds, rows, *groups.shape[1:]).transpose(0, 1, 3, 2).reshape(folds, -1, groups.shape[1])


def _tiles(tokens: Ints, matrices: Ints, folds: tuple[int, ...], count: int) -> Ints:
    """Sums (tiles * count, cols) of one job's tokens (beats, rows * m) over the folds of each tile."""
    whole = np.zeros((len(matrices) * count, tokens.shape[1]), np.int64)
    whole[: len(tokens)] = tokens
    products = whole.reshape(len(matrices), count, -1) @ matrices
    return np.add.reduceat(products, _before(np.array(folds, np.int64)), axis=0).reshape(len(folds) * count, -1)


BLOCKS.register("nm_gemm_top")((
    NMGemmTop(NMSystolicArray(4, 4, 2, 4), 16), NMGemmTop(NMSystolicArray(3, 2, 1, 4), 12),
    NMGemmTop(NMSystolicArray(2, 2, 4, 8), 1),
    NMGemmTop(NMSystolicArray(2, 3, 2, 4, weight_bits=4, pipe_stages=3, acc_bits=20), 5),
    NMGemmTop(NMSystolicArray(1, 1, 1, 2, bits=16, weight_bits=8, acc_bits=36, pipe_stages=1), 3),
    NMGemmTop(NMSystolicArray(2, 1, 2, 4, bits=4, acc_bits=12), 4),
))  # fmt: skip
