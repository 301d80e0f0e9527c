"""The audit's report to look at, as one HTML file: ``cascade audit --html``. It needs the extra ``report``."""

from cascade.audit.html.page import PAGE, Known, check_report, report_origin, write_report

__all__ = ["PAGE", "Known", "check_report", "report_origin", "write_report"]
