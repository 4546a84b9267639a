"""Bayesian search over training configurations: a study on Optuna's storages, which processes share."""

from audiodiff.tuning.search.report import write_report as write_report
from audiodiff.tuning.search.study import Study as Study
