"""Measures of sounds, of models and of machines."""
