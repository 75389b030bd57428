"""The report of an evaluation: one HTML page that needs nothing else, JSON, and CSV."""

from __future__ import annotations

from medstyle_gan.evaluation.report.montages import views_montage
from medstyle_gan.evaluation.report.page import summary_page
from medstyle_gan.evaluation.report.writing import refuse_existing, write_report

__all__ = ["refuse_existing", "summary_page", "views_montage", "write_report"]
