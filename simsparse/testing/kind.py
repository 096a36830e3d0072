# SPDX-License-Identifier: Apache-2.0
"""The contract of an op kind."""

from __future__ import annotations

import pickle
from typing import ClassVar

import pytest

from simsparse.core import KINDS, Kind, Op, TraceBuilder, Unit, ops
from simsparse.errors import SimsparseError, SpecError
from simsparse.trace.file import load_trace


class KindContract:
    """Inherit and set ``kind``, the Kind object."""

    kind: ClassVar[Kind]
    dtypes: ClassVar[tuple[str, ...]] = ("bf16", "int8")

    @property
    def examples(self) -> list[Op]:
        return [op for dtype in self.dtypes for op in self.kind.examples(dtype)]

    def test_it_is_registered_with_its_factory(self) -> None:
        assert KINDS.get(self.kind.name) is self.kind
        assert getattr(ops, self.kind.name) == self.kind.factory
        assert self.kind.name in dir(ops)

    def test_its_examples_are_ops_of_the_kind(self) -> None:
        assert self.examples
        for op in self.examples:
            assert op.kind == self.kind.name and op.definition is self.kind
            assert tuple(dim for dim in op.dims if dim not in self.kind.optional_dims) == self.kind.dims
            assert op.checked() is op

    def test_counts_are_whole_and_never_negative(self) -> None:
        for op in self.examples:
            counts = (
                op.weight_bytes, op.resident_bytes, op.kv_bytes, op.resident_kv_bytes, op.input_bytes, op.output_bytes,
                op.flops, op.vector_flops, op.dense_macs, op.useful_macs, op.expert_bytes,
            )  # fmt: skip
            assert all(isinstance(count, int) and count >= 0 for count in counts), op.name
            assert op.min_bytes > 0
            assert op.kv_bytes <= op.input_bytes and op.kv_bytes <= op.resident_kv_bytes
            assert op.useful_macs <= op.dense_macs

    def test_its_products_are_its_work(self) -> None:
        """A matrix unit has all products to run; a vector unit and a link have none."""
        for op in self.examples:
            macs = sum(gemm.times * gemm.m * gemm.n * gemm.k for gemm in op.products)
            assert macs >= op.dense_macs if op.unit is Unit.MATRIX else macs == op.dense_macs == 0
            assert op.unit is not Unit.VECTOR or op.vector_flops == op.flops
            for gemm in op.products:
                assert min(gemm.times, gemm.m, gemm.n, gemm.k) >= 1
                assert (gemm.second_bytes is None) == self.kind.prunable

    def test_it_goes_through_a_trace_file(self, tmp_path: object) -> None:
        builder = TraceBuilder("examples")
        for op in self.examples:
            builder.add(op)
        trace = builder.build()
        again = load_trace(trace.save(f"{tmp_path}/kind.trace"))
        assert again.ops == trace.ops
        assert [op.signature for op in again.ops] == [op.signature for op in trace.ops]

    def test_an_op_goes_to_another_process(self) -> None:
        for op in self.examples:
            copy = pickle.loads(pickle.dumps(op))
            assert copy == op and copy.definition is self.kind

    def test_every_dim_changes_the_signature(self) -> None:
        op = self.examples[-1]
        for dim in (*self.kind.dims, *self.kind.optional_dims):
            other = op.with_(dims={**op.dims, dim: self.kind.all_dims(op)[dim] + 1})
            assert other.signature != op.signature

    def test_an_optional_dim_with_its_default_is_left_out(self) -> None:
        for op in self.examples:
            again = op.with_(dims=dict(self.kind.all_dims(op)))
            assert again == op and again.signature == op.signature and again.dims == op.dims

    def test_bad_dims_are_refused(self) -> None:
        op = self.examples[0]
        for dim in (*self.kind.dims, *self.kind.optional_dims):
            if dim in self.kind.dims:
                with pytest.raises(SpecError):
                    op.with_(dims={key: value for key, value in op.dims.items() if key != dim})
            with pytest.raises(SpecError):
                op.with_(dims={**op.dims, dim: -1})
            if dim in self.kind.flags:
                assert self.refused(op.with_(dims={**op.dims, dim: 2}))
            elif dim not in self.kind.zero_dims:
                assert self.refused(op.with_(dims={**op.dims, dim: 0}))

    def refused(self, op: Op) -> bool:
        try:
            op.checked()
        except SimsparseError as error:
            return error.key is not None
        return False
