# SPDX-License-Identifier: Apache-2.0
"""Traces from and to other tools: one file a format, found through TRACE_FORMATS.

docs/howto/interchange.md says what each format carries and what it can't.
"""

from simsparse.trace.interchange.base import (
    TRACE_FORMATS,
    Imported,
    ImportOptions,
    TraceFormat,
    dims_of,
    export_trace,
    import_trace,
)

__all__ = ["TRACE_FORMATS", "ImportOptions", "Imported", "TraceFormat", "dims_of", "export_trace", "import_trace"]
