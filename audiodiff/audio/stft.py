"""Cut a waveform into overlapping windowed frames, transform each, and add them up again.

One pair of functions serves the mel front end, Griffin-Lim, the mel projection and the network's lapped transform.
Frames are rows, [..., F, K], so that a matrix product over frequency needs no transposition.
"""

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # else training could not use what sampling has cached
def hann(
    win_length: int, n_fft: int, power: float, dtype: torch.dtype, device: torch.device, periodic: bool = True
) -> Tensor:
    """Return a Hann window raised to a power, centred in n_fft samples."""
    window = torch.hann_window(win_length, periodic, dtype=torch.float64).pow(power)
    left = (n_fft - win_length) // 2
    return torch.nn.functional.pad(window, (left, n_fft - win_length - left)).to(dtype).to(device)


def stft(waveform: Tensor, window: Tensor, hop_length: int, padding: tuple[int, int], pad_mode: str) -> Tensor:
    """Transform a waveform, [B, T], to complex frames, [B, F, n_fft // 2 + 1].

    F = (T + left + right - n_fft) // hop_length + 1.
    """
    if any(padding):
        waveform = torch.nn.functional.pad(waveform[:, None], padding, mode=pad_mode)[:, 0]
    return torch.fft.rfft(waveform.unfold(-1, len(window), hop_length) * window)


def istft(
    spectrum: Tensor,
    window: Tensor,
    hop_length: int,
    padding: tuple[int, int],
    length: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Invert `stft` by weighted overlap-add, the least-squares inverse, to [B, length].

    x = sum_k w(n - kH) y_k(n - kH) / sum_k w²(n - kH).    Reference: Griffin & Lim, 1984, equation 6.

    Samples under no window come out as 0. `weights` is the divisor, from `envelope`, where it is at hand already.
    """
    frames = torch.fft.irfft(spectrum, n=len(window)) * window
    if weights is None:
        weights = envelope(window, spectrum.shape[-2], hop_length)
    waveform = overlap_add(frames, hop_length) / weights
    missing = padding[0] + length - waveform.shape[-1]
    if missing > 0:
        waveform = torch.nn.functional.pad(waveform, (0, missing))
    return waveform[..., padding[0] : padding[0] + length]


def envelope(window: Tensor, n_frames: int, hop_length: int) -> Tensor:
    """Add up the squares of all frames' windows: [(n_frames + ceil(N / hop) - 1) hop].

    The first sample of a periodic Hann window is 0: where nothing else overlaps, 0 / 0 shall become 0.
    """
    laps = -(-len(window) // hop_length)
    few = min(n_frames, laps)  # where all laps lie on each other every hop is like the next
    blocks = overlap_add((window**2).expand(few, -1), hop_length).view(-1, hop_length)
    inner = blocks[few - 1 : few].expand(n_frames - few, -1)
    return torch.cat([blocks[: few - 1], inner, blocks[few - 1 :]]).flatten().clamp(min=1e-5)


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Add frames, [..., F, N], at distances of hop_length: [..., (F + ceil(N / hop) - 1) hop].

    >>> overlap_add(torch.ones(3, 4), 2).tolist()
    [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]
    """
    *batch, n_frames, size = frames.shape
    laps = -(-size // hop_length)
    if size % hop_length:
        frames = torch.nn.functional.pad(frames, (0, laps * hop_length - size))
    # Block l of frame k belongs to row k + l, and lies at block (n l + k n) of memory. Seen with the laps in reverse,
    # the blocks of one row are n - 1 blocks apart: one strided view of the padded frames holds all rows.
    edge = frames.new_zeros(*batch, (laps - 1) * laps * hop_length)
    padded = torch.cat([edge, frames.reshape(*batch, n_frames * laps * hop_length), edge], -1)
    strides = (*padded.stride()[:-1], laps * hop_length, (laps - 1) * hop_length, 1)
    view = padded.as_strided((*batch, n_frames + laps - 1, laps, hop_length), strides, (laps - 1) * hop_length)
    first, *others = view.unbind(-2)
    return sum(others, first).flatten(-2)
