"""Shared by the tests of export."""

import torch

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import XPrediction
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.mel import MelSpec
from audiodiff.models.generator import Generator
from audiodiff.models.whitening import Identity
from audiodiff.nn.band_split import SubBandNetwork
from audiodiff.nn.diffwave import SampleNetwork
from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.multi_resolution import ParallelNetwork
from audiodiff.utils.config import choose

SPEC = MelSpec(16000)


CONVENTIONS = {
    "hop divides": SPEC,
    "hop does not divide": MelSpec(16000, 1024, 800, 200),
    "odd remainder": MelSpec(22050, 1000, 1000, 300),
    "centred": MelSpec(16000, center=True),
    "zeros beyond": MelSpec(16000, 512, 512, 128, pad_mode="constant", n_mels=40),
    "window without a period": MelSpec(16000, periodic=False),
    "powers": MelSpec(16000, power=2.0, norm="none", log="log10"),
}


def hybrid(**how):
    return HybridNetwork(
        **{"hop_length": 128, "n_fft": 512, "width": 16, "attention_window": 4, "n_mels": 80, "mel_hop_length": 256}
        | how
    )


NETWORKS = {
    "hybrid": lambda: hybrid(),
    "magnitudes": lambda: hybrid(magnitudes="both", mel=SPEC),
    "causal": lambda: hybrid(causal=True),
    "hop does not divide": lambda: hybrid(hop_length=64, n_fft=400),
    "bands": lambda: SubBandNetwork(128, 512, n_bands=8, width=16, n_stages=1),
    "resolutions": lambda: ParallelNetwork([hybrid(), hybrid(hop_length=64, n_fft=256)]),
    "samples": lambda: SampleNetwork(256, width=8, n_layers=4, encoder_width=16),
}


GENERATOR_NETWORK = {
    "hop_length": 64,
    "n_fft": 256,
    "width": 16,
    "attention_window": 4,
    "n_positions": 8,
    "dilations": (1, 2),
    "embedding": 8,
}
GENERATOR_CONFIG = {
    "sample_rate": 16000,
    "hop_length": 64,
    "n_samples": 3000,
    "steps": 3,
    "solver": {"_target_": "audiodiff.diffusion.solvers.DPMSolver2M"},
    "whitening": {"_target_": "audiodiff.models.Identity", "scale": 0.1},
}


def tiny_generator(labels=("low", "high"), seed=0):
    """Build a generator with random weights, its last layer and its classes included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = HybridNetwork(**GENERATOR_NETWORK, n_labels=len(labels))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        if labels:
            torch.nn.init.normal_(network.labels.weight, std=5.0)  # classes that are heard
    denoiser = Denoiser(network, XPrediction(), CosineVP(-8, 8))
    model = Generator(denoiser, 16000, 64, Identity(0.1), 3, choose("solver", "dpmpp-2m"), None, labels, 1.0, 3000)
    part = {
        "_target_": "audiodiff.diffusion.Denoiser",
        "network": {"_target_": "audiodiff.nn.HybridNetwork", **GENERATOR_NETWORK, "n_labels": len(labels)},
        "prediction": {"_target_": "audiodiff.diffusion.XPrediction"},
        "schedule": {"_target_": "audiodiff.diffusion.schedules.CosineVP", "log_snr_min": -8, "log_snr_max": 8},
    }
    part["network"]["dilations"] = list(GENERATOR_NETWORK["dilations"])
    model.config = {
        "_target_": "audiodiff.models.Generator",
        **GENERATOR_CONFIG,
        "labels": list(labels),
        "denoiser": part,
    }
    model.info = {"licence": "CC0-1.0", "data": "none; random weights for tests", "hours": 0.0, "steps": 0}
    return model.eval()
