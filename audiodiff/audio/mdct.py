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


def onset_mdct(waveform: Tensor, block: int, short: int) -> Tensor:
    """Transform as `mdct`, but the first block by shorter ones, so that what begins there begins sharply.

    Its coefficients are in order of their frequency, those of one frequency in order of time.

    Args:
        waveform: The signal, [..., T], T a multiple of the block length.
        block: Block length.
        short: Length of the blocks into which the first is divided; the second overlaps the last of them by as much.
    """
    head, tail = waveform[..., :block], waveform[..., block:]
    if tail.shape[-1]:
        head, tail = _across(head, tail, short, 1.0)
    first = mdct(head, short).transpose(-1, -2).flatten(-2)[..., None, :]
    return torch.cat([first, mdct(tail, block)], dim=-2) if tail.shape[-1] else first


def onset_imdct(coefficients: Tensor, short: int) -> Tensor:
    """Invert `onset_mdct`: [..., F, block] to [..., F block]."""
    head = imdct(coefficients[..., 0, :].unflatten(-1, (short, -1)).transpose(-1, -2))
    if coefficients.shape[-2] == 1:
        return head
    return torch.cat(_across(head, imdct(coefficients[..., 1:, :]), short, -1.0), dim=-1)


def _across(head: Tensor, tail: Tensor, overlap: int, direction: float) -> tuple[Tensor, Tensor]:
    """Rotate the samples on both sides of one boundary, as far as half the overlap."""
    pair = torch.stack([head[..., -overlap:], tail[..., :overlap]], dim=-2)
    left, right = _mix(pair, direction, None).unbind(-2)
    return torch.cat([head[..., :-overlap], left], dim=-1), torch.cat([right, tail[..., overlap:]], dim=-1)


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
