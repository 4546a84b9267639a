"""Describe a log-mel, read as a convention, by numbers that show whether the reading is right.

The values are brought to a common scale: natural-log amplitudes, 0 for a full-scale sine, at fixed frequencies. What is
described, and what it gives away:

    level, spread, mean spectrum      the logarithm's base, mean and std, norm, power
    change over 20 to 320 ms          hop, window, rate
    change from band to band          window, scale, number of bands
    fluctuation of noise              window, hop, width of the bands: of stationary noise it is known exactly
    print of the filterbank           rate, n_fft, scale, f_min, f_max: narrow bands hold few bins, and some hold more
                                      than others; the log of the filters' sums returns in the mean spectrum
    values at or below the floor      floor, ceiling, mean and std
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional

from audiodiff.mel import MelSpec
from audiodiff.mel.filterbank import band_centres, mel_filters
from audiodiff.utils import devices

LEVEL_AT, SPECTRUM_AT = 0, slice(6, 38)  # where the level and the mean spectrum are in what `features` returns
MELS = torch.linspace(186.0, 2760.0, 32, dtype=torch.float32).tolist()
FREQUENCIES_HZ = tuple(700 * (10 ** (x / 2595) - 1) for x in MELS)  # 126 to 7402
LAGS = 0.02, 0.04, 0.08, 0.16, 0.32  # seconds
MOST_FRAMES = 768  # that are looked at: four stretches of a longer mel
LOWEST = -14.0  # nepers below a full-scale sine, -122 dB: all floors lie below
FAR = 12.0  # nepers by which values out of range count at most
THIRDS = 3
GROUPS, FEWEST = 6, 50  # of bands in which noise is looked for; values that must be heard in each
NEIGHBOURS = 6  # bins that a window correlates


@devices.default_dtype(torch.float32)
def features(mel: Tensor, spec: MelSpec) -> Tensor:
    """Describe a log-mel, [M, F] with M = spec.n_mels and at least 2 frames, read as a convention: [N]."""
    values = _excerpt(mel.float()).mT
    raw = spec.log_magnitudes(values).clamp(-30.0, 30.0)
    gains, index, part = _bands(spec)
    logs = (raw - gains).clamp(min=LOWEST)
    grid = logs[:, index - 1] * (1 - part) + logs[:, index] * part
    frame_level = grid.mean(1)
    loud = frame_level >= frame_level.median()
    mean, quiet = grid[loud].mean(0), torch.quantile(frame_level, torch.tensor([0.02, 0.1]))
    level, spread = mean.mean(), grid.std(0, correction=0)
    overall = torch.stack([level, logs.max(), spread.mean(), frame_level.std(correction=0), *(quiet - level)])
    parts = (
        overall,
        mean - level,
        spread.view(-1, 2).mean(1),
        _change_in_time(grid, spec),
        _change_in_frequency(logs, loud),
        _noise(logs, spec),
        _print_of_filters(raw[loud].mean(0), gains),
        _range(values, spec),
        _described(spec, len(values)),
    )
    return torch.cat(parts)


def _excerpt(mel: Tensor) -> Tensor:
    """Take four stretches of a long mel."""
    if mel.shape[-1] <= MOST_FRAMES:
        return mel
    size = MOST_FRAMES // 4
    starts = torch.linspace(0, mel.shape[-1] - size, 4).long().tolist()
    return torch.cat([mel[:, start : start + size] for start in starts], -1)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _bands(spec: MelSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Compute each band's log response to a full-scale sine, [M], and where the fixed frequencies lie among the bands.

    Returns:
        Responses; the band to the right of each frequency; and how far it lies towards it, from 0 to 1.
    """
    window = spec.window(torch.zeros(1, dtype=torch.float64)).sum() / 2
    response = mel_filters(spec, window).sum(0).clamp(min=1e-8).log() / spec.power + window.log()
    centres, wanted = band_centres(spec), torch.tensor(FREQUENCIES_HZ, dtype=torch.float64)
    right = torch.searchsorted(centres, wanted).clamp(1, len(centres) - 1)
    part = ((wanted - centres[right - 1]) / (centres[right] - centres[right - 1])).clamp(0, 1)
    return response.float(), right, part.float()


def _change_in_time(grid: Tensor, spec: MelSpec) -> Tensor:
    """Compute mean squared change over lags in seconds and in frames, of the variance, in thirds of the spectrum."""
    variance = _thirds(grid.var(0, correction=0)).clamp(min=1e-4)
    steps = _at_lags(grid, (1, 2))
    frames = [lag * spec.sample_rate / spec.hop_length for lag in LAGS]
    needed = sorted({k for f in frames for k in (int(f), int(f) + 1)})
    known = dict(zip(needed, _at_lags(grid, tuple(needed)), strict=True))
    between = [known[int(f)] * (1 - f % 1) + known[int(f) + 1] * (f % 1) for f in frames]
    return torch.cat([(change / variance / 2 + 1e-4).log() for change in (*steps, *between)])


def _at_lags(grid: Tensor, lags: tuple[int, ...]) -> list[Tensor]:
    """Compute the mean squared change over lags in frames, in thirds of the spectrum; of short mels the longest lag."""
    longest = len(grid) - 1
    return [
        _thirds((grid[min(k, longest) :] - grid[: len(grid) - min(k, longest)]).square().mean(0))
        if k
        else torch.zeros(THIRDS)
        for k in lags
    ]


def _change_in_frequency(logs: Tensor, loud: Tensor) -> Tensor:
    """Compute how rough loud frames are from band to band: squared first and second differences, in thirds."""
    first = logs[loud].diff(dim=1)
    return torch.cat([(_thirds(d.square().mean(0)) + 1e-4).log() for d in (first, first.diff(dim=1))])


def _noise(logs: Tensor, spec: MelSpec) -> Tensor:
    """Compare how logs fluctuate from frame to frame, and from band to band, with how they would in stationary noise.

    Third differences in time and second ones in frequency leave little of speech, whose noisy stretches decide the
    median. In nepers, in groups of bands; 0 where too little is heard.
    """
    in_time, in_frequency = _expected_of_noise(spec)
    heard = logs > logs.amin() + 1.0
    kinds = (
        (logs.diff(n=3, dim=0)[::2], heard[3::2], in_time),
        (logs[::2].diff(n=2, dim=1), heard[::2, 2:], in_frequency),
    )
    parts = (zip(*(part.chunk(GROUPS, -1) for part in kind), strict=True) for kind in kinds)
    return torch.stack([_median_ratio(*part) for kind in parts for part in kind])


def _median_ratio(change: Tensor, mask: Tensor, expected: Tensor) -> Tensor:
    """Compute the log of the median of squared changes, [F, M], over their expected values, [M]."""
    ratios = (change.square() / expected)[mask]
    return ratios.median().clamp(1e-4, 1e4).log() if len(ratios) > FEWEST else torch.zeros(())


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _expected_of_noise(spec: MelSpec) -> tuple[Tensor, Tensor]:
    """Compute the variance of third differences in time, [M], and second ones in frequency, [M - 2], of noise's logs.

    Neighbouring bins and frames are correlated as the window's square, and its overlap with itself, say.
    """
    like = torch.zeros(1, dtype=torch.float64)
    window = spec.window(like)
    filters = mel_filters(spec, like)
    weights = filters / filters.sum(0).clamp(min=1e-12)
    near = torch.fft.rfft(window**2, n=spec.n_fft).abs()[:NEIGHBOURS].square()
    near = near / near[0]
    spread = sum(
        near[abs(d)] * torch.roll(weights, d, 0) for d in range(1 - NEIGHBOURS, NEIGHBOURS)
    )  # of bins that are zero at the ends, as filters are
    covariance = weights.T @ spread
    lapped = [
        float((window[k * spec.hop_length :] * window[: max(0, spec.n_fft - k * spec.hop_length)]).sum())
        for k in range(4)
    ]
    overlap = torch.tensor([(value / lapped[0]) ** 2 for value in lapped], dtype=torch.float64)
    third, second = (torch.tensor(d, dtype=torch.float64) for d in ((1.0, -3.0, 3.0, -1.0), (1.0, -2.0, 1.0)))
    lag = (torch.arange(4)[:, None] - torch.arange(4)).abs()
    in_time = covariance.diagonal() * (third[:, None] * third * overlap[lag]).sum()
    columns = torch.arange(spec.n_mels - 2)[:, None] + torch.arange(3)
    in_frequency = torch.einsum("i,j,mij->m", second, second, covariance[columns[:, :, None], columns[:, None, :]])
    return in_time.clamp(min=1e-6).float(), in_frequency.clamp(min=1e-6).float()


def _print_of_filters(mean: Tensor, gains: Tensor) -> Tensor:
    """Regress the roughness of the mean spectrum on that of the filters' sums: slope, correlation, what is left."""
    rough, print_ = (_roughness(curve) for curve in (mean, gains))
    energy, left = print_.square().sum().clamp(min=1e-6), rough.square().sum().clamp(min=1e-6)
    product = (rough * print_).sum()
    slope = (product / energy).clamp(-3, 3) * (energy / (energy + 0.01))
    rest = (rough - product / energy * print_).square().mean()
    return torch.stack(
        [slope, product / (energy * left).sqrt(), (rest + 1e-5).log(), (energy / len(gains) + 1e-6).log()]
    )


def _roughness(curve: Tensor) -> Tensor:
    return functional.pad(curve.diff(n=2), (1, 1)) / math.sqrt(6)


def _range(values: Tensor, spec: MelSpec) -> Tensor:
    """Compare the smallest and largest values with those that the convention can give, in nepers."""
    lowest = 0.0 if spec.guard == "add" else spec.floor
    ends = spec.compress(torch.tensor([[lowest], [spec.ceiling or 1e4]]).expand(2, spec.n_mels))
    scale = (torch.as_tensor(spec.std) * spec._log_unit / spec.power).float().mean()
    below, above = ((ends[0] - values) * scale).clamp(0, FAR), ((values - ends[1]) * scale).clamp(0, FAR)
    smallest = values.amin()
    heap = (values <= smallest + 1e-3 / scale).float().mean()  # as many as lie at the smallest: cut off there
    gap = ((smallest - ends[0].mean()) * scale).clamp(-FAR, FAR)
    cut = (heap * 1000).clamp(max=20)
    return torch.stack(
        [below.amax(), below.mean(), above.amax(), above.mean(), cut, gap, cut * gap.abs().clamp(max=3) / 3]
    )


def _described(spec: MelSpec, n_frames: int) -> Tensor:
    hop, window = spec.hop_length / spec.sample_rate, spec.win_length / spec.sample_rate
    numbers = (
        100 * hop,
        20 * window,
        spec.f_min / 100,
        spec.f_max / 10000,
        spec.n_mels / 100,
        spec.sample_rate / spec.n_fft / 20,
        float(spec.scale == "htk"),
        math.log(n_frames * hop),
    )
    return torch.tensor(numbers)


def _thirds(values: Tensor) -> Tensor:
    """Average over each third of the last axis, which need not divide by three."""
    return functional.adaptive_avg_pool1d(values[None, None], THIRDS)[0, 0]
