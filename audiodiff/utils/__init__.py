"""Helpers that know nothing of sound: optional dependencies."""
