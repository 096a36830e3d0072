# SPDX-License-Identifier: Apache-2.0
"""nm_gemm_top: whole GEMMs, asked for through registers, from weight and activation streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

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
from simsparse.rtl.gemm_requests import ERRORS, Register, RequestProgram, program, reads, requested
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

    @property
    def parameters(self) -> Mapping[str, int]:
        shape = {name: value for name, value in self.array.parameters.items() if name != "OutputStationary"}
        return {**shape, "MaxTokens": self.max_tokens}

    @property
    def inputs(self) -> tuple[Field, ...]:
        lanes = self.array.rows * self.array.m
        return (
            Field("s_axis_activation_tdata", self.array.bits, lanes, signed=True), Field("s_axis_activation_tlast", 1)
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        sums = Field("m_axis_result_tdata", self.array.acc_bits, self.array.cols, signed=True)
        return (sums, Field("m_axis_result_tlast", 1))

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
        """A tile is a fold; GEMMs of a few folds each, until there are ``tiles`` of them."""
        asked = requested(rng, tiles, self.max_tokens)
        plan = program(asked, self.max_tokens)
        lengths, count = plan.tokens_of_folds, plan.folds * self.array.rows
        lanes = self.array.cols * self.array.n
        index = positions(rng, count * self.array.cols, self.array.n, self.array.m).reshape(count, -1)
        odd = rng.random((count, 1)) < ODD_SHARE
        index = np.where(odd, rng.integers(0, self.array.m, index.shape), index)
        return {
            **asked,
            **self.memory_images(
                signed(rng, (int(lengths.sum()), self.inputs[0].lanes), self.array.bits),
                signed(rng, (count, lanes), self.array.bits), index, lengths,
                rng.random(plan.folds) < ODD_SHARE, rng.random(plan.folds) < ODD_SHARE,
            ),
        }  # fmt: skip

    def memory_images(
        self, activations: NDArray[np.int64], weights: NDArray[np.int64], index: NDArray[np.int64],
        lengths: NDArray[np.int64], odd_words: NDArray[np.bool_] | None = None,
        odd_tokens: NDArray[np.bool_] | None = None,
    ) -> dict[str, NDArray[np.int64]]:  # fmt: skip
        """The beats of both streams: activations (tokens of all folds, rows * m), weights and index (words, cols * n),
        folds of ``lengths`` tokens. tlast is missing in odd folds."""
        ends = [np.cumsum(lengths) - 1, np.arange(1, lengths.size + 1) * self.array.rows - 1]
        lasts = [np.zeros((count, 1), np.int64) for count in (len(activations), len(weights))]
        for last, end, odd in zip(lasts, ends, (odd_tokens, odd_words), strict=True):
            last[end, 0] = 1 if odd is None else ~odd
        return {
            "s_axis_activation_tdata": activations, "s_axis_activation_tlast": lasts[0],
            "s_axis_weight_tdata": self._bytes(weights, index), "s_axis_weight_tlast": lasts[1],
        }  # fmt: skip

    def expected(self, beats: Beats) -> Expected:
        """What the results are; ``predicted`` adds what the registers say, which depends on when they are asked."""
        plan = program(beats, self.max_tokens)
        results, last = self._results(beats, plan)
        outputs = {"m_axis_result_tdata": wrapped(results, self.array.acc_bits), "m_axis_result_tlast": last}
        return Expected(outputs, np.ones(len(results), np.bool_))

    def predicted(self, stream: DrivenStream) -> tuple[Expected, Cycles]:
        plan = program(stream.beats, self.max_tokens)
        sides = GemmSides(
            stream.side_offers[1], stream.side_offers[0], stream.offers, stream.side_accepts[0], stream.accepts
        )
        at = gemm_handshakes(sides, plan.kinds, plan.jobs, self.array.rows, self.array.cols)
        values = self.expected(stream.beats)
        shape = (self.array.rows, self.array.cols, self.array.n, self.array.m)
        faults = self._faults(stream.beats, plan, at)
        answers = reads(stream.beats, plan, at, faults, shape).reshape(-1, 1)
        outputs = {**values.outputs, "response_data": answers}
        cycles = Cycles(at.activations, at.results, (at.weights, at.requests), (at.responses,))
        return Expected(outputs, values.emits), cycles

    @property
    def bins(self) -> frozenset[str]:
        fields = (*self.inputs[:1], *self._parts)
        registers = {f"read {register.name}" for register in Register} | {"read nothing", "write nothing"}
        modes = {f"dense={dense} serial={serial}" for dense in (0, 1) for serial in (0, 1)}
        errors = {f"error {name}" for name in ERRORS} - ({"error metadata"} if self.array.n == 1 else set())
        sizes = {"one token", "most tokens", "one fold", "folds", "one tile", "tiles"}
        patterns = pattern_bins(self.array.n, self.array.m)
        return frozenset(corner_bins(fields) | patterns | registers | modes | errors | sizes)

    @property
    def timed_bins(self) -> frozenset[str]:
        ways = {"a read while a GEMM runs", "a read afterwards", "a write waits", "an answer waits"}
        return frozenset(ways | {"serial folds wait", "folds overlap"})

    def timed_covered(self, beats: Beats, at: Cycles) -> set[str]:
        plan = program(beats, self.max_tokens)
        taken, write = at.side_taken[1], beats["reg_write"][:, 0] == 1
        starts = plan.kinds == Request.START
        job = np.cumsum(starts) - 1
        sizes = [each.tiles * each.tokens for each in plan.jobs]
        ends = at.given[np.cumsum(sizes) - 1][np.maximum(job, 0)]
        runs = (job >= 0) & (taken <= ends) & ~starts
        serial = np.repeat([each.serial for each in plan.jobs], [each.k_folds * each.tiles for each in plan.jobs])
        begins = np.cumsum(plan.tokens_of_folds) - plan.tokens_of_folds
        early = at.side_taken[0].reshape(-1, self.array.rows)[1:, 0] <= at.taken[begins[1:] - 1]
        found = {
            "a read while a GEMM runs": (runs & ~write).any(),
            "a read afterwards": (~runs & ~write & (job >= 0)).any(),
            "a write waits": (write[1:] & (taken[1:] == ends[:-1] + 1) & (job[:-1] >= 0)).any(),
            "an answer waits": (at.side_given[0] > taken[~write] + 1).any(),
            "serial folds wait": (serial[1:] & ~early).any(), "folds overlap": (~serial[1:] & early).any(),
        }  # fmt: skip
        return {name for name, met in found.items() if met}

    def covered(self, beats: Beats) -> set[str]:
        plan = program(beats, self.max_tokens)
        weight, index = self._split(beats)
        sparse = index[np.repeat(plan.dense_of_folds, self.array.rows) == 0].reshape(-1, self.array.n)
        ascending = sparse[(np.diff(sparse, axis=1) > 0).all(axis=1)]
        lanes = {"weight": weight, "s_axis_activation_tdata": beats["s_axis_activation_tdata"]}
        found = covered_corners((*self.inputs[:1], self._parts[0]), lanes) | plan.covered(self.max_tokens)
        found |= {f"error {name}" for name, bad in self._odd(beats, plan).items() if bad.any()}
        return found | covered_patterns(ascending, self.array.m)

    @property
    def _parts(self) -> tuple[Field, Field]:
        """What a weight word is made of."""
        _, weight, index = self.array.side_inputs[0].fields
        return weight, index

    @property
    def _weight_bytes(self) -> int:
        return -(-sum(part.width for part in self._parts) // 8)

    def _bytes(self, weights: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
        packed = pack(self._parts, {"weight": weights, "index": index}, len(weights))
        return packed.view(np.uint8)[:, : self._weight_bytes].astype(np.int64)

    def _split(self, beats: Beats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Weights and indexes (words, cols * n)."""
        data = beats["s_axis_weight_tdata"]
        whole = np.zeros((len(data), words(self._parts) * WORD_BITS // 8), np.uint8)
        whole[:, : data.shape[1]] = data
        numbers = unpack(self._parts, whole.view(np.uint32))
        return numbers["weight"], numbers["index"]

    def _results(self, beats: Beats, plan: RequestProgram) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        weight, index = self._split(beats)
        dense = np.repeat(plan.dense_of_folds, self.array.rows)[:, None]
        groups = self.array.weights({"weight": weight, "index": index, "dense": dense})
        folds = groups.reshape(-1, self.array.rows, self.array.cols, self.array.m).transpose(0, 1, 3, 2)
        matrices = folds.reshape(plan.folds, -1, self.array.cols)
        tokens, rows, last, fold, first = beats["s_axis_activation_tdata"], [], [], 0, 0
        for job in plan.jobs:
            for _ in range(job.tiles):
                size = job.k_folds * job.tokens
                streamed = tokens[first : first + size].reshape(job.k_folds, job.tokens, -1)
                rows.append((streamed @ matrices[fold : fold + job.k_folds]).sum(axis=0))
                first, fold = first + size, fold + job.k_folds
            ends = np.zeros((job.tiles * job.tokens, 1), np.int64)
            ends[-1] = 1
            last.append(ends)
        return np.concatenate(rows), np.concatenate(last)

    def _odd(self, beats: Beats, plan: RequestProgram) -> dict[str, NDArray[np.bool_]]:
        """Which weight words and activation beats raise which error flag."""
        index = self._split(beats)[1].reshape(-1, self.array.cols, self.array.n)
        dense = np.repeat(plan.dense_of_folds, self.array.rows) == 1
        descends = (np.diff(index, axis=2) <= 0).any(axis=(1, 2)) & ~dense
        ends = [np.zeros(len(beats[f"s_axis_{name}_tlast"]), np.int64) for name in ("weight", "activation")]
        ends[0][self.array.rows - 1 :: self.array.rows] = 1
        ends[1][np.cumsum(plan.tokens_of_folds) - 1] = 1
        return {
            "weights' tlast": beats["s_axis_weight_tlast"][:, 0] != ends[0],
            "activations' tlast": beats["s_axis_activation_tlast"][:, 0] != ends[1],
            "metadata": np.asarray(descends, np.bool_),
        }

    def _faults(self, beats: Beats, plan: RequestProgram, at: GemmHandshakes) -> dict[str, NDArray[np.int64]]:
        """Cycles in which each error flag is raised."""
        odd = self._odd(beats, plan)
        return {
            "sizes": at.requests[plan.refused], "weights' tlast": at.weights[odd["weights' tlast"]],
            "activations' tlast": at.activations[odd["activations' tlast"]], "metadata": at.weights[odd["metadata"]],
        }  # fmt: skip


BLOCKS.register("nm_gemm_top")(
    (
        NMGemmTop(NMSystolicArray(4, 4, 2, 4), 16), NMGemmTop(NMSystolicArray(3, 2, 1, 4), 12),
        NMGemmTop(NMSystolicArray(2, 2, 4, 8), 1),
    )
)  # fmt: skip
