"""Compiled CPU kernels of the mel inversion, each on one thread; `dispatch` is the door to them."""
