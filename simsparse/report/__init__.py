# SPDX-License-Identifier: Apache-2.0
"""Reports: a sweep's result folder, or one Result, as figures, tables and one page that opens offline."""

from simsparse.report.build import build_report, report_result

__all__ = ["build_report", "report_result"]
