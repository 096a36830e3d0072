"""Storage formats of sparse operands: encode, decode, convert, and the exact bits they take."""

from simsparse.formats.base import FORMATS, Encoded, Format
from simsparse.formats.conversion import convert
from simsparse.formats.usual import usual_format

__all__ = ["FORMATS", "Encoded", "Format", "convert", "usual_format"]
