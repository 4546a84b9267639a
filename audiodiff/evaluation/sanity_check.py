"""Sanity check of a trained model against silence, noise and an untrained network."""

import copy

import torch
from torch import Tensor, nn

from audiodiff.evaluation.metrics import log_spectral_distance_db
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.vocoder import Vocoder


def untrained(model: Model, seed: int = 0) -> Model:
    """Copy a model and draw its network's weights at random, zero-initialised layers included."""
    fresh, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in fresh.denoiser.parameters():
            if parameter.ndim > 1:
                bound = parameter[0].numel() ** -0.5
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
    return fresh


def sound_of(model: Model, reference: Tensor, seed: int = 0) -> Tensor:
    """Resynthesise a reference, [T], or sample a generator's sound of its length."""
    if isinstance(model, Vocoder):
        hop = model.hop_length
        padded = nn.functional.pad(reference, (0, -len(reference) % hop)).to(model.device)
        return model.generate(model.spectrogram(padded[None, None]), seed=seed)[0, 0, : len(reference)].cpu()
    if isinstance(model, Generator):
        return model.generate(len(reference), seed=seed)[0, 0].cpu()
    raise ValueError(f"a {type(model).__name__} makes no sound that can be compared")


def verdict(model: Model, fresh: Model, reference: Tensor, seed: int = 0) -> dict[str, float]:
    """Compute log-spectral distances in dB to a reference, [T], of the model, the untrained one, and trivial sounds.

    Returns:
        `lsd/model`, `lsd/untrained`, `lsd/noise` (white, as loud as the reference), `lsd/silence`, and `lsd/margin`:
        the distance of the best of the other three minus the model's.
    """
    noise = torch.randn(len(reference), generator=torch.Generator().manual_seed(seed)) * reference.pow(2).mean().sqrt()
    sounds = {
        "model": sound_of(model, reference, seed),
        "untrained": sound_of(fresh, reference, seed),
        "noise": noise,
        "silence": torch.zeros_like(reference),
    }
    distances = {
        f"lsd/{name}": log_spectral_distance_db(reference, sound, model.sample_rate) for name, sound in sounds.items()
    }
    others = min(value for name, value in distances.items() if name != "lsd/model")
    return {**distances, "lsd/margin": others - distances["lsd/model"]}
