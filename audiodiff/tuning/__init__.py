"""Calibration of schedules, and search of sampling times and hyperparameters."""
