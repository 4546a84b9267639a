"""Shared by the tests of live streams: a small vocoder whose network and start see no future to speak of."""

import torch

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import VPrediction
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.models import MelWhitening, RealTimeGriffinLim, Vocoder
from audiodiff.nn import HybridNetwork


def live_vocoder(spec, causal=True, n_stages=1, whitening=None, **start):
    """Build a vocoder of 8 bands and hops of 16, with random weights; `start` holds arguments of its start."""
    small = {"width": 8, "dilations": (1, 2), "n_stages": n_stages, "kernel": 3, "n_heads": 2, "attention_window": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = HybridNetwork(
            8, 32, embedding=8, n_mels=8, mel_hop_length=16, causal=causal, encoder_causal=False, **small
        )
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    denoiser = Denoiser(network, VPrediction(), CosineVP(log_snr_min=-8.0, log_snr_max=12.0))
    parts = (whitening or MelWhitening(spec, block=8), RealTimeGriffinLim(spec, **start))
    return Vocoder(spec, denoiser, *parts, steps=1, projection_iters=0).eval()
