# SPDX-License-Identifier: Apache-2.0
"""From one format to another."""

from __future__ import annotations

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import Encoded, Format


def convert(encoded: Encoded, source: Format, target: Format) -> Encoded:
    """``encoded``, an array in ``source``, in ``target``: the very buffers that encoding the array itself gives.

    Raises SpecError when the buffers are not of ``source`` or the array does not fit ``target``.
    """
    array = source.decode(encoded)
    try:
        return target.encode(array)
    except SpecError as error:
        wrong = f"what {source.name} holds does not fit: {error.message}"
        raise SpecError(wrong, key=error.key or target.name) from error
