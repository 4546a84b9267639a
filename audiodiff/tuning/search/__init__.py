"""Bayesian search over training configurations: a study that processes share and that outlives them."""

from audiodiff.tuning.search.report import write_report
from audiodiff.tuning.search.study import Study

__all__ = ["Study", "write_report"]
