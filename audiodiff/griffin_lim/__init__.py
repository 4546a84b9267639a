"""Waveforms from mels without a network: Griffin-Lim iterations on magnitudes fitted to the mel."""
