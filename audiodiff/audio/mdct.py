"""The modified discrete cosine transform as an orthogonal matrix: as many coefficients as samples, at every length.

Neighbouring blocks are first mixed across their boundary by rotations (the windows of the textbook form), then each
block of N samples goes through an orthonormal DCT-IV. The outer ends have no neighbour and are not mixed, so the whole
map is square and orthogonal: white noise stays white, and the inverse is the transpose.
Reference: Malvar, 1992, "Signal Processing with Lapped Transforms", section 4.
"""

import functools
import math

import torch
from torch import Tensor

__all__ = ["imdct", "mdct"]


def mdct(waveform: Tensor, block: int, inner: Tensor | None = None) -> Tensor:
    """Transform [..., T], T a multiple of the block length, to [..., T // block, block].

    Args:
        waveform: The signal.
        block: Block length.
        inner: Which of the T // block - 1 boundaries lie within the sound; all by default. The others are ends.
    """
    blocks = waveform.unflatten(-1, (-1, block))
    return _mix(blocks, 1.0, inner) @ _dct(block, waveform.dtype, waveform.device)


def imdct(coefficients: Tensor, inner: Tensor | None = None) -> Tensor:
    """Invert `mdct`: [..., F, block] to [..., F block]; `inner` as there."""
    blocks = coefficients @ _dct(coefficients.shape[-1], coefficients.dtype, coefficients.device)
    return _mix(blocks, -1.0, inner).flatten(-2)


def _mix(blocks: Tensor, direction: float, within: Tensor | None) -> Tensor:
    """Rotate each pair of samples that face each other across a boundary, at distances up to half a block.

    A DCT-IV is odd about the right end of its block and even about the left: the signs continue the cosines smoothly.
    """
    half = blocks.shape[-1] // 2
    inner, outer = _window(blocks.shape[-1], blocks.dtype, blocks.device)
    tail = blocks[..., :-1, -half:].flip(-1)
    head = blocks[..., 1:, :half]
    new_tail, new_head = inner * tail - direction * outer * head, inner * head + direction * outer * tail
    if within is not None:
        new_tail, new_head = (torch.where(within[:, None], *pair) for pair in ((new_tail, tail), (new_head, head)))
    middle = [blocks[..., half : half + 1]] if blocks.shape[-1] % 2 else []
    lefts, rights = [blocks[..., :1, :half], new_head], [new_tail.flip(-1), blocks[..., -1:, -half:]]
    return torch.cat([torch.cat(lefts, dim=-2), *middle, torch.cat(rights, dim=-2)], dim=-1)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # as in stft.hann
def _window(block: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    angle = math.pi / 4 + math.pi * (torch.arange(block // 2, dtype=torch.float64) + 0.5) / (2 * block)
    return angle.sin().to(dtype).to(device), angle.cos().to(dtype).to(device)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # as in stft.hann
def _dct(block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthonormal DCT-IV matrix, which is symmetric and its own inverse."""
    n = torch.arange(block, dtype=torch.float64) + 0.5
    return (math.sqrt(2 / block) * (math.pi / block * n[:, None] * n).cos()).to(dtype).to(device)
