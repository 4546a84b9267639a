"""Measures of sounds, of models and of machines; tables, baselines, benchmarks, diagnosis."""
