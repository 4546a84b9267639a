"""Mel inversion without a network, by Griffin-Lim's principle."""
