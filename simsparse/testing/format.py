# SPDX-License-Identifier: Apache-2.0
"""The contract of a storage format."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats import FORMATS, Encoded, Format

SHAPES = ((1, 1), (1, 7), (5, 1), (3, 16), (8, 33), (17, 40))


class FormatContract:
    """Inherit, set ``name`` and ``form``; override ``conform`` and ``shapes`` if not every array fits the format."""

    name: str
    form: Format
    shapes: tuple[tuple[int, int], ...] = SHAPES

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        """``array`` with what the format can't hold set to zero."""
        return array

    def counted(self, array: NDArray[Any]) -> NDArray[Any]:
        """What ``units`` takes for ``array``."""
        return np.asarray(array != 0)

    @pytest.fixture(params=[(place, density) for place in range(6) for density in (0.0, 0.1, 0.5, 1.0)], ids=str)
    def array(self, request: pytest.FixtureRequest) -> NDArray[Any]:
        place, density = request.param
        shape = self.shapes[place % len(self.shapes)]
        rng = np.random.default_rng([*shape, round(10 * density)])
        return self.conform(rng.integers(1, 99, shape).astype(np.float32) * (rng.random(shape) < density))

    def test_it_is_registered(self) -> None:
        assert FORMATS.get(self.name) is type(self.form)
        assert self.form.name == self.name

    def test_decode_gives_the_array_back(self, array: NDArray[Any]) -> None:
        decoded = self.form.decode(self.form.encode(array))
        np.testing.assert_array_equal(decoded, array)
        assert decoded.dtype == array.dtype

    def test_formula_equals_buffers(self, array: NDArray[Any]) -> None:
        encoded = self.form.encode(array)
        assert encoded.units == self.form.units(self.counted(array))
        for value_bits in (4, 8, 16, 32):
            assert self.form.stored_bits(array.shape, encoded.units, value_bits) == encoded.bits(value_bits)

    @pytest.mark.parametrize("shape", [(0, 256), (256, 0), (0, 0)])
    def test_a_matrix_without_elements_comes_back(self, shape: tuple[int, int]) -> None:
        array = np.zeros(shape, np.float32)
        encoded = self.form.encode(array)
        assert self.form.decode(encoded).shape == shape
        assert self.form.stored_bits(shape, encoded.units, 16) == encoded.bits(16)

    def test_metadata_is_packed(self, array: NDArray[Any]) -> None:
        encoded = self.form.encode(array)
        assert set(encoded.metadata) == set(encoded.metadata_bits)
        for name, buffer in encoded.metadata.items():
            assert buffer.nbytes == -(-encoded.metadata_bits[name] // 8)
        assert all(buffer.ndim == 1 and buffer.flags.c_contiguous for buffer in encoded.buffers.values())
        assert encoded.stored_bytes(32) == sum(buffer.nbytes for buffer in encoded.buffers.values())

    def test_every_non_zero_is_stored(self, array: NDArray[Any]) -> None:
        stored = self.form.encode(array).values
        assert sorted(stored[stored != 0]) == sorted(array[array != 0])

    def test_a_vector_is_refused(self) -> None:
        with pytest.raises(SpecError, match="expected a matrix"):
            self.form.encode(np.ones(4))

    def test_buffers_of_another_length_are_refused(self, array: NDArray[Any]) -> None:
        encoded = self.form.encode(array)
        longer = np.append(encoded.values, encoded.values.dtype.type(1))
        self.refused(replace(encoded, values=longer), "values")
        if encoded.values.size:
            self.refused(replace(encoded, values=encoded.values[:-1]), "values")
        for name, buffer in encoded.metadata.items():
            others = {key: other for key, other in encoded.metadata.items() if key != name}
            self.refused(replace(encoded, metadata=others), name)
            self.refused(replace(encoded, metadata={**others, name: np.append(buffer, np.uint8(0))}), name)
            self.refused(replace(encoded, metadata={**others, name: buffer.astype(np.int8)}), name)
            self.refused(replace(encoded, metadata_bits={name: encoded.metadata_bits[name] + 1}), name)

    def test_another_count_of_units_is_refused(self, array: NDArray[Any]) -> None:
        encoded = self.form.encode(array)
        with pytest.raises(SpecError, match=self.name):
            self.form.decode(replace(encoded, units=encoded.units + 1))

    def test_any_other_byte_is_an_array_or_an_error(self, array: NDArray[Any]) -> None:
        encoded = self.form.encode(array)
        rng = np.random.default_rng(array.size)
        for name in [name for name, buffer in encoded.metadata.items() for _ in range(8) if buffer.size]:
            spoiled = encoded.metadata[name].copy()
            spoiled[rng.integers(spoiled.size)] = rng.integers(256)
            other = replace(encoded, metadata={**encoded.metadata, name: spoiled})
            try:
                assert self.form.decode(other).shape == array.shape
            except SpecError as error:
                assert error.key is not None and error.key.startswith(self.name)

    def refused(self, encoded: Encoded, buffer: str) -> None:
        with pytest.raises(SpecError) as caught:
            self.form.decode(encoded)
        assert caught.value.key in {f"{self.name}.{buffer}", f"{self.name}.values"}
