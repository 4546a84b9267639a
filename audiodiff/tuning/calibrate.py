"""Measure data in the diffused space, and propose sigma_data and the range of log-SNR that a schedule should cover.

Noise of power N in every time-frequency cell hides the cells with less energy than N. A path with unit noise at
log-SNR L has N = exp(-L), so the distribution of cell energies says which log-SNRs matter:

    log_snr_max: noise lies `below_db` under the weak cells (10 % quantile)        what is left at the end is inaudible
    log_snr_min: noise lies `above_db` over the loudest cells (99.9 % quantile)    nothing is visible
    shift:       noise lies at the median of the cells at half time                half of the cells are hidden

Cells below -90 dBFS are silence and do not count. References for the idea of the shift: Hoogeboom et al., 2023,
arXiv:2301.11093, section 3.1; Chen, 2023, arXiv:2301.10972 (which scales the input instead).
"""

import dataclasses
import math
from pathlib import Path

import torch
from torch import Tensor

from audiodiff.audio.stft import hann, stft
from audiodiff.diffusion.schedules import CosineVP, Schedule

WEAK, LOUD = 0.1, 0.999
SILENCE_DBFS = -90.0
QUANTILES = (0.1, 0.5, 0.9)
SAMPLED_CELLS, SAMPLED_FRAMES = 1_000_000, 10_000


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was measured, and the schedule that follows from it.

    Args:
        sigma_data: Standard deviation of the diffused signal.
        log_snr_min: Proposed log-SNR at t = 1.
        log_snr_max: Proposed log-SNR at t = 0.
        shift: Proposed log-SNR at half time.
        rms_dbfs: Level of the recordings.
        spectrum_db: Quantiles of cell energy by frequency, relative to white noise of unit variance: 3 lists of bins.
        energies: Sorted sample of cell energies.
        sample_rate: Hz.
    """

    sigma_data: float
    log_snr_min: float
    log_snr_max: float
    shift: float
    rms_dbfs: float
    spectrum_db: list[list[float]]
    energies: Tensor
    sample_rate: int

    def schedule(self) -> CosineVP:
        """Build the proposed schedule."""
        return CosineVP(self.log_snr_min, self.log_snr_max, self.shift)

    def visible_share(self, schedule: Schedule, t: Tensor) -> Tensor:
        """Compute the share of cells above the noise at each time."""
        noise = (-schedule.log_snr(t)).exp().to(self.energies)
        return 1 - torch.searchsorted(self.energies, noise) / len(self.energies)


def calibrate(
    waveforms: list[Tensor],
    encoded: list[Tensor],
    sample_rate: int,
    n_fft: int = 512,
    below_db: float = 30.0,
    above_db: float = 10.0,
) -> Calibration:
    """Measure recordings.

    Args:
        waveforms: Recordings, [1, T] each, full scale = 1.
        encoded: The same in the diffused space, [1, T'] each with T' <= T.
        sample_rate: Hz.
        n_fft: Samples per cell.
        below_db: Distance of the noise at t = 0 from the weak cells.
        above_db: Distance of the noise at t = 1 from the loud cells.

    Raises:
        ValueError: The recordings are silent or too short.
    """
    pairs = [(w[:, : x.shape[-1]], x, w) for w, x in zip(waveforms, encoded, strict=True) if x.shape[-1] >= n_fft]
    cells = [cell_energies(x, n_fft) for _, x, _ in pairs]
    audible = [cell_energies(sound, n_fft) > 10 ** (SILENCE_DBFS / 10) for sound, _, _ in pairs]
    counted = torch.cat([c[a] for c, a in zip(cells, audible, strict=True)]) if cells else torch.empty(0)
    if not len(counted):
        raise ValueError("the recordings hold nothing but silence, or are too short: give others")
    energies = counted[:: max(1, len(counted) // SAMPLED_CELLS)].sort().values.clamp(min=1e-12)
    weak, median, loud = (float(energies[int(q * (len(energies) - 1))].log()) for q in (WEAK, 0.5, LOUD))
    power = sum(float(x.square().mean()) for _, x, _ in pairs) / len(pairs)
    mean_square = sum(float(waveform.square().mean()) for _, _, waveform in pairs) / len(pairs)
    nepers = math.log(10) / 10
    return Calibration(
        sigma_data=round(math.sqrt(power), 4),
        log_snr_min=round(-loud - above_db * nepers, 2),
        log_snr_max=round(-weak + below_db * nepers, 2),
        shift=round(-median, 2),
        rms_dbfs=round(10 * math.log10(max(mean_square, 1e-12)), 2),
        spectrum_db=_spectrum(torch.cat(cells)),
        energies=energies,
        sample_rate=sample_rate,
    )


def cell_energies(waveform: Tensor, n_fft: int) -> Tensor:
    """Compute the energy of each time-frequency cell, [frames, bins]; 1 on average for white noise of unit variance."""
    window = hann(n_fft, n_fft, 1.0, torch.float32, torch.device("cpu"))
    spectrum = stft(waveform.float(), window, n_fft // 2, (n_fft // 2, n_fft // 2), "constant")[0]
    return (spectrum.real**2 + spectrum.imag**2) / (window**2).sum()


def _spectrum(cells: Tensor) -> list[list[float]]:
    """Return the QUANTILES of cell energy by frequency, in dB, from an even sample of the frames."""
    sample = cells[:: len(cells) // SAMPLED_FRAMES + 1]
    levels = torch.stack([sample.quantile(q, 0) for q in QUANTILES])
    return (10 * levels.clamp(min=1e-12).log10()).tolist()


def plot(calibration: Calibration, current: Schedule, path: str | Path) -> None:
    """Plot the spectrum with the noise levels of the proposed schedule, and the share of visible cells at each time."""
    from matplotlib.figure import Figure

    from audiodiff.utils.files import atomic_file

    proposed = calibration.schedule()
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    low, middle, high = calibration.spectrum_db
    frequency = torch.linspace(0, calibration.sample_rate / 2000, len(middle)).tolist()
    left.fill_between(frequency, low, high, alpha=0.3, label="10 % to 90 % of cells")
    left.plot(frequency, middle, label="median cell")
    for t in (0.0, 0.25, 0.5, 0.75, 1.0):
        level = -10 / math.log(10) * float(proposed.log_snr(torch.tensor(t, dtype=torch.float64)))
        left.axhline(level, color="grey", linewidth=0.8)
        left.annotate(f"noise at t = {t:g}", (frequency[-1], level), ha="right", va="bottom", fontsize=8, color="grey")
    left.set(xlabel="kHz", ylabel="dB re white noise of unit variance", title="energy in the diffused space")
    left.legend(loc="lower left")
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    right.plot(times, calibration.visible_share(current, times), label="schedule of the config")
    right.plot(times, calibration.visible_share(proposed, times), label="proposed")
    right.set(xlabel="t", ylabel="share of cells above the noise", title="visible cells", ylim=(0, 1.02))
    right.legend()
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
