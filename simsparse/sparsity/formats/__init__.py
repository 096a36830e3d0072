# SPDX-License-Identifier: Apache-2.0
"""Storage formats of sparse operands: encode, decode, convert, and the exact bits they take."""

from simsparse.sparsity.formats.base import FORMATS, Encoded, Format
from simsparse.sparsity.formats.conversion import convert
from simsparse.sparsity.formats.storage import format_for, storage_text, usual_format

__all__ = ["FORMATS", "Encoded", "Format", "convert", "format_for", "storage_text", "usual_format"]
