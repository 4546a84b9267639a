"""Examination of recordings: troubles of each file, and near-duplicates among all.

Near-duplicates are found by coarse spectrograms in dB without their mean, which gain, encoding and rate hardly change.
"""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.manifest import Recording
from audiodiff.utils import devices

TROUBLES = (
    "unreadable",
    "not finite",
    "silent",
    "channels cancel",
    "clipped",
    "offset",
    "too short",
    "odd rate",
    "near-duplicate",
    "listed otherwise",
)
BANDS, SEGMENTS = 16, 32  # of a fingerprint
LOWEST, HIGHEST = 120.0, 3400.0  # Hz: what a telephone keeps
WINDOW = 0.032  # seconds
DEPTH = 50.0  # dB below the loudest cell that count
FLAT = 0.9999  # of the peak


@dataclasses.dataclass(frozen=True)
class Limits:
    """Hold the limits beyond which a file is in trouble.

    Args:
        silent_db: Rms below which a file is silent, dB of full scale.
        clipped: Share of samples in flat tops.
        offset: Mean as a share of full scale.
        seconds: Length below which a file is too short.
        alike: Least correlation of the fingerprints of near-duplicates.
        length: Largest relative difference of the lengths of near-duplicates.
    """

    silent_db: float = -60.0
    clipped: float = 1e-4
    offset: float = 0.01
    seconds: float = 0.5
    alike: float = 0.98
    length: float = 0.02


@dataclasses.dataclass
class Examined:
    """Hold the facts of a file: its `troubles`, and the file `of` which it is a near-duplicate."""

    path: Path
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    rms_db: float = -math.inf
    peak: float = 0.0
    troubles: list[str] = dataclasses.field(default_factory=list)
    of: Path | None = None
    reason: str = ""


def scan(
    paths: Sequence[Path], limits: Limits | None = None, progress: Callable[[Iterable[Path]], Iterable[Path]] = iter
) -> list[Examined]:
    """Examine files and compare them with each other.

    Args:
        paths: Audio files.
        limits: Limits of troubles.
        progress: Wraps the iteration, as `tqdm` does.
    """
    limits = limits or Limits()
    files, prints = [], []
    for path in progress(paths):
        one, waveform = examine(path, limits)
        files.append(one)
        usable = waveform is not None and not {"silent", "channels cancel"} & set(one.troubles)
        prints.append(fingerprint(waveform.mean(0), one.sample_rate) if usable else None)
    rates = Counter(one.sample_rate for one in files if one.sample_rate)
    usual = max(rates, key=rates.__getitem__) if rates else 0
    for one in files:
        if one.sample_rate and one.sample_rate != usual:
            one.troubles.append("odd rate")
    _mark_copies(files, prints, limits)
    return files


def mark_stale(files: Sequence[Examined], listed: Sequence[Recording]) -> None:
    """Mark the files whose length or rate differs from a manifest's, by which they would be drawn and cut."""
    for one, recording in zip(files, listed, strict=True):
        real = (round(one.seconds * one.sample_rate), one.sample_rate)
        if one.sample_rate and real != (recording.n_samples, recording.sample_rate):
            one.troubles.append("listed otherwise")


def examine(path: Path, limits: Limits) -> tuple[Examined, Tensor | None]:
    """Examine one file; return its waveform too, [C, T], if it can be used."""
    one = Examined(path)
    try:
        waveform, one.sample_rate = audio.read(path)
    except ValueError as error:
        one.reason = str(error)
        one.troubles.append("not finite" if "NaN" in one.reason else "unreadable")
        return one, None
    one.channels, one.seconds = waveform.shape[0], waveform.shape[1] / one.sample_rate
    one.peak = float(waveform.abs().max())
    mean = waveform.mean(1, keepdim=True)
    rms = float((waveform - mean).square().mean().sqrt())
    one.rms_db = 20 * math.log10(rms) if rms else -math.inf
    if one.rms_db < limits.silent_db:
        one.troubles.append("silent")
    elif flat_tops(waveform) > limits.clipped:
        one.troubles.append("clipped")
    if audio_io.cancels(waveform - mean) and "silent" not in one.troubles:
        one.troubles.append("channels cancel")
    if float(mean.abs().max()) > limits.offset:
        one.troubles.append("offset")
    if one.seconds < limits.seconds:
        one.troubles.append("too short")
    return one, waveform


def flat_tops(waveform: Tensor) -> float:
    """Measure the share of samples, [C, T], that lie at the peak together with both neighbours."""
    at_peak = waveform.abs() >= FLAT * waveform.abs().max()
    return float((at_peak[:, 2:] & at_peak[:, 1:-1] & at_peak[:, :-2]).float().mean())


@devices.default_dtype(torch.float32)
def fingerprint(waveform: Tensor, sample_rate: int) -> Tensor:
    """Compute the coarse spectrogram of a sound, [T] to [512], in dB, without mean, of unit norm.

    Gain drops out with the mean; cells far below the loudest one are raised to one level.
    """
    window = max(64, round(WINDOW * sample_rate))
    hop = max(1, min(window // 2, len(waveform) // (2 * SEGMENTS)))
    padded = torch.nn.functional.pad(waveform.detach().float(), (0, window))
    power = torch.stft(padded, window, hop, window=torch.hann_window(window), center=False, return_complex=True)
    power = power.abs().square()
    edges = torch.logspace(math.log10(LOWEST), math.log10(HIGHEST), BANDS + 1) / sample_rate * window
    band = torch.bucketize(torch.arange(len(power), dtype=torch.float32), edges) - 1
    inside = (band >= 0) & (band < BANDS)
    bands = torch.zeros(BANDS, power.shape[1]).index_add_(0, band[inside], power[inside])
    cells = torch.nn.functional.adaptive_avg_pool1d(bands[None], SEGMENTS)[0].flatten()
    level = 10 * cells.clamp(min=1e-20).log10()
    level = level.clamp(min=float(level.max()) - DEPTH)
    level = level - level.mean()
    return level / level.norm().clamp(min=1e-9)


def _mark_copies(files: list[Examined], prints: list[Tensor | None], limits: Limits) -> None:
    """Mark each file that sounds like an earlier one of about its length."""
    order = sorted((i for i, p in enumerate(prints) if p is not None), key=lambda i: files[i].seconds)
    lengths = torch.tensor([files[i].seconds for i in order], dtype=torch.float64)
    ends = torch.searchsorted(lengths, lengths * (1 + limits.length), right=True).tolist()
    all_prints = torch.stack([prints[i] for i in order]) if order else torch.empty(0, BANDS * SEGMENTS)
    for place, end in enumerate(ends):
        alike = all_prints[place + 1 : end] @ all_prints[place] > limits.alike
        for other in alike.nonzero().flatten().tolist():
            first, second = sorted((order[place], order[place + 1 + other]))
            if files[second].of is None:
                files[second].of = files[first].path
                files[second].troubles.append("near-duplicate")


def table(files: Sequence[Examined], named: int = 3) -> str:
    """Count the files of each trouble in a Markdown table, and name the first ones."""
    lines = ["| trouble | files | such as |", "|---|---|---|"]
    for trouble in TROUBLES:
        bad = [one for one in files if trouble in one.troubles]
        if bad:
            names = ", ".join(shown(one.path) + (f" (of {shown(one.of)})" if one.of else "") for one in bad[:named])
            lines.append(f"| {trouble} | {len(bad)} | {names}{', …' if len(bad) > named else ''} |")
    return "\n".join(lines) if len(lines) > 2 else "nothing is wrong"


def totals(files: Sequence[Examined]) -> str:
    """Summarise number, length, rates, channels and level of files in one line.

    >>> totals([Examined(Path("a.wav"), 3600.0, 8000, 1, -20.0, 0.5), Examined(Path("b.wav"))])
    '2 files, 1.00 h, 8000 Hz × 1, 1 channel × 1, -20 dBFS rms (median), peak 0.50'
    """
    read = [one for one in files if one.sample_rate]
    parts = [f"{len(files)} files, {sum(one.seconds for one in files) / 3600:.2f} h"]
    parts += [f"{rate} Hz × {n}" for rate, n in sorted(Counter(one.sample_rate for one in read).items())]
    channels = sorted(Counter(one.channels for one in read).items())
    parts += [f"{count} channel{'s' if count > 1 else ''} × {n}" for count, n in channels]
    if read:
        parts.append(f"{statistics.median(one.rms_db for one in read):.0f} dBFS rms (median)")
        parts.append(f"peak {max(one.peak for one in read):.2f}")
    return ", ".join(parts)


def shown(path: Path) -> str:
    r"""Escape a name so that it breaks neither a table nor a terminal.

    >>> shown(Path("a|b\nc"))
    'a\\|b\\nc'
    """
    text = str(path).replace("|", r"\|")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
