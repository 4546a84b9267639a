"""Generators too small to sound of anything, whose output depends on everything: nothing begins at zero."""

import json

import torch

from audiodiff.cli import main
from audiodiff.utils.config import build

RATE, LABELS = 8000, ["high", "low"]


def tiny(labels=tuple(LABELS), seed=0, **changes):
    """An untrained generator whose output depends on everything: its last layer is drawn at random."""
    network = {
        "_target_": "audiodiff.nn.HybridNetwork",
        **{"hop_length": 64, "n_fft": 256, "width": 8, "dilations": [1], "n_stages": 1, "kernel": 3, "n_heads": 2},
        **{"attention_window": 8, "embedding": 8, "n_labels": len(labels), "n_positions": 16},
    }
    config = {
        "_target_": "audiodiff.models.Generator",
        "denoiser": {
            "_target_": "audiodiff.diffusion.Denoiser",
            "network": network,
            "prediction": {"_target_": "audiodiff.diffusion.VPrediction"},
            "schedule": {"_target_": "audiodiff.diffusion.schedules.CosineVP"},
        },
        **{"sample_rate": RATE, "hop_length": 64, "steps": 3, "labels": list(labels), "n_samples": 1000},
        **changes,
    }
    torch.manual_seed(seed)
    model = build(config)
    model.config = config
    for parameter in model.parameters():  # many begin at zero, where a label changes nothing
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def conditioned(labels=(), size=3, seed=0):
    """An untrained generator of labels, vectors or both, whose output depends on everything."""
    model = tiny(labels=labels)
    config = json.loads(json.dumps(model.config))
    config["denoiser"]["network"]["vector_size"] = size
    torch.manual_seed(seed)
    model = build(config)
    model.config = config
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def made(*arguments):
    return main(["generate", *arguments])
