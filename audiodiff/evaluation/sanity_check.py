"""Tell a bug from too little training: does the model beat silence, noise and itself untrained?"""

import copy

import torch
from torch import Tensor, nn

from audiodiff.evaluation.metrics import log_spectral_distance_db
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.vocoder import Vocoder

__all__ = ["sound_of", "untrained", "verdict"]


def untrained(model: Model, seed: int = 0) -> Model:
    """Copy a model and give its network's layers random weights, as an untrained one that still makes sound has.

    The network's zero-initialised layers are drawn at random too: a fresh network is the identity, not noise.
    """
    fresh, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in fresh.denoiser.parameters():
            if parameter.ndim > 1:
                bound = parameter[0].numel() ** -0.5
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
    return fresh


def sound_of(model: Model, reference: Tensor, seed: int = 0) -> Tensor:
    """Make what is to be compared with a reference, [T]: its resynthesis, or a generator's sample of its length."""
    if isinstance(model, Vocoder):
        hop = model.hop_length
        padded = nn.functional.pad(reference, (0, -len(reference) % hop)).to(model.device)
        return model.generate(model.spectrogram(padded[None, None]), seed=seed)[0, 0, : len(reference)].cpu()
    if isinstance(model, Generator):
        return model.generate(len(reference), seed=seed)[0, 0].cpu()
    raise ValueError(f"a {type(model).__name__} makes no sound that could be compared")


def verdict(model: Model, fresh: Model, reference: Tensor, seed: int = 0) -> dict[str, float]:
    """Measure log-spectral distances in dB to a reference, [T], of the model, the same untrained, and trivial sounds.

    Returns:
        `lsd/model`, `lsd/untrained`, `lsd/noise` (white, as loud as the reference), `lsd/silence`, and `lsd/margin`:
        by how much the model beats the best of the other three; negative if it does not.
    """
    noise = torch.randn(len(reference), generator=torch.Generator().manual_seed(seed)) * reference.pow(2).mean().sqrt()
    sounds = {
        "model": sound_of(model, reference, seed),
        "untrained": sound_of(fresh, reference, seed),
        "noise": noise,
        "silence": torch.zeros_like(reference),
    }
    found = {
        f"lsd/{name}": log_spectral_distance_db(reference, sound, model.sample_rate) for name, sound in sounds.items()
    }
    others = min(value for name, value in found.items() if name != "lsd/model")
    return {**found, "lsd/margin": others - found["lsd/model"]}
