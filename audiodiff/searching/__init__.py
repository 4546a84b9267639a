"""Bayesian search over training configurations: a study that processes share and that outlives them."""

from audiodiff.searching.report import write_report
from audiodiff.searching.study import Study

__all__ = ["Study", "write_report"]
