"""The contract of a storage format."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simsparse.formats import FORMATS, Format

SHAPES = ((1, 1), (1, 7), (5, 1), (3, 16), (8, 33), (17, 40))


class FormatContract:
    """Inherit, set ``name`` and ``form``, and override ``conform`` if not every array fits the format."""

    name: str
    form: Format

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        """``array`` with what the format can't hold set to zero."""
        return array

    @pytest.fixture(params=[(shape, density) for shape in SHAPES for density in (0.0, 0.1, 0.5, 1.0)], ids=str)
    def array(self, request: pytest.FixtureRequest) -> NDArray[Any]:
        shape, density = request.param
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
        assert encoded.units == self.form.units(array != 0)
        for value_bits in (4, 8, 16, 32):
            assert self.form.stored_bits(array.shape, encoded.units, value_bits) == encoded.bits(value_bits)

    def test_metadata_is_packed(self, array: NDArray[Any]) -> None:
        encoded = self.form.encode(array)
        assert set(encoded.metadata) == set(encoded.metadata_bits)
        for name, buffer in encoded.metadata.items():
            assert buffer.nbytes == -(-encoded.metadata_bits[name] // 8)

    def test_every_non_zero_is_stored(self, array: NDArray[Any]) -> None:
        stored = self.form.encode(array).values
        assert sorted(stored[stored != 0]) == sorted(array[array != 0])

    def test_a_vector_is_refused(self) -> None:
        with pytest.raises(Exception, match="expected a matrix"):
            self.form.encode(np.ones(4))
