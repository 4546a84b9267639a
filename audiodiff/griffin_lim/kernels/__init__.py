"""Compiled CPU kernels of the Griffin-Lim iterations."""
