"""Building blocks of effects: zero-phase filters, convolution, levels, alignment."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def ordered(name: str, limits: Sequence[float]) -> tuple[float, float]:
    """Return a lowest and a highest value.

    Raises:
        ValueError: They are not two, or in the wrong order.
    """
    if len(limits) != 2 or limits[0] > limits[1]:
        raise ValueError(f"{name}={list(limits)} must be the lowest and the highest value, such as [1, 2]")
    return limits[0], limits[1]


def filtered(clip: Tensor, sample_rate: int, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """Filter a clip, [1, T], with zero phase by a gain over frequency in Hz; padding keeps its ends apart."""
    length = clip.shape[-1]
    padded = 2 ** math.ceil(math.log2(length + sample_rate // 20))
    spectrum = torch.fft.rfft(clip, n=padded)
    frequency = torch.arange(spectrum.shape[-1]) * (sample_rate / padded)
    return torch.fft.irfft(spectrum * gain(frequency), n=padded)[..., :length]


def convolved(clip: Tensor, response: Tensor) -> Tensor:
    """Convolve a clip, [1, T], with a causal response and cut the result to T."""
    size = 2 ** math.ceil(math.log2(clip.shape[-1] + len(response)))
    product = torch.fft.rfft(clip, n=size) * torch.fft.rfft(response, n=size)
    return torch.fft.irfft(product, n=size)[..., : clip.shape[-1]]


def at_level_of(clip: Tensor, other: Tensor) -> Tensor:
    """Scale another signal to the root mean square of a clip."""
    return other * (clip.square().mean().sqrt() / other.square().mean().sqrt().clamp(min=1e-9))


def aligned(late: Tensor, clip: Tensor, most: int) -> Tensor:
    """Align a delayed copy, [1, T'], with a clip, [1, T], by their correlation, within `most` samples.

    >>> click = torch.eye(1, 8)
    >>> aligned(torch.nn.functional.pad(click, (3, 0)), click, 4).tolist() == click.tolist()
    True
    """
    size = 2 ** math.ceil(math.log2(late.shape[-1] + clip.shape[-1] + most))
    agreement = torch.fft.irfft(torch.fft.rfft(late, n=size) * torch.fft.rfft(clip, n=size).conj(), n=size)[0]
    delay = int(agreement.roll(most)[: 2 * most + 1].argmax()) - most
    return torch.nn.functional.pad(late, (-delay, clip.shape[-1] - late.shape[-1] + delay))  # negative padding cuts
