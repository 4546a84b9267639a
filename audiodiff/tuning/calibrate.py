"""Measures data in the space that is diffused, and proposes sigma_data and the log-SNR that a schedule should span.

Noise of power N in every time-frequency cell hides the cells whose energy is below N. A path with unit noise at
log-SNR L has N = exp(-L), so the distribution of cell energies says which log-SNRs matter:

    log_snr_max: noise lies `below_db` under the weak cells (the 10 % quantile)       what is left at the end is unheard
    log_snr_min: noise lies `above_db` over the loudest cells (the 99.9 % quantile)   nothing is left to be seen
    shift:       noise lies at the median of the cells at half time                   half of them are to be guessed

Cells below -90 dBFS are silence and do not count. Reference for the idea of the shift: Hoogeboom et al., 2023,
arXiv:2301.11093, section 3.1; Chen, 2023, arXiv:2301.10972 (scaling the input instead).
"""

import dataclasses
import math
from pathlib import Path

import torch
from torch import Tensor

from audiodiff.audio.stft import hann, stft
from audiodiff.diffusion.schedules import CosineVP, Schedule

__all__ = ["Calibration", "calibrate", "plot"]

WEAK, LOUD = 0.1, 0.999
SILENCE_DBFS = -90.0
QUANTILES = (0.1, 0.5, 0.9)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Holds what was measured and what follows.

    Args:
        sigma_data: Standard deviation of the diffused signal.
        log_snr_min: Proposed log-SNR at t = 1.
        log_snr_max: Proposed log-SNR at t = 0.
        shift: Proposed log-SNR at half time.
        rms_dbfs: Level of the recordings.
        spectrum_db: Quantiles of cell energy by frequency, relative to white noise of unit variance, [3][bins].
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
        """Builds the proposed path."""
        return CosineVP(self.log_snr_min, self.log_snr_max, self.shift)

    def seen(self, schedule: Schedule, t: Tensor) -> Tensor:
        """Returns the share of cells above the noise at each time."""
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
    """Measures recordings.

    Args:
        waveforms: Recordings, [1, T] each, full scale = 1.
        encoded: The same in the diffused space, [1, T'] each with T' <= T.
        sample_rate: Hz.
        n_fft: Samples per cell.
        below_db: Distance of the noise at t = 0 from the weak cells.
        above_db: Distance of the noise at t = 1 from the loud cells.

    Raises:
        ValueError: There is nothing but silence.
    """
    window = hann(n_fft, n_fft, 1.0, torch.float32, torch.device("cpu"))

    def energies_of(waveform: Tensor) -> Tensor:
        spectrum = stft(waveform.float(), window, n_fft // 2, (n_fft // 2, n_fft // 2), "constant")[0]
        return (spectrum.real**2 + spectrum.imag**2) / (window**2).sum()  # 1 for white noise of unit variance

    cells, heard, power, rms = [], [], 0.0, 0.0
    for waveform, x in zip(waveforms, encoded, strict=True):
        if x.shape[-1] < n_fft:
            continue
        power, rms = power + float(x.square().mean()), rms + float(waveform.square().mean())
        sound, cell = energies_of(waveform[:, : x.shape[-1]]), energies_of(x)
        cells.append(cell)
        heard.append(sound > 10 ** (SILENCE_DBFS / 10))
    kept = torch.cat([c[h] for c, h in zip(cells, heard, strict=True)]) if cells else torch.empty(0)
    if not len(kept):
        raise ValueError("the recordings hold nothing but silence, or are too short: give others")
    energies = kept[:: max(1, len(kept) // 1_000_000)].sort().values.clamp(min=1e-12)
    weak, median, loud = (float(energies[int(q * (len(energies) - 1))].log()) for q in (WEAK, 0.5, LOUD))
    nepers = math.log(10) / 10
    every = torch.cat(cells)
    chosen = every[:: len(every) // 10_000 + 1]
    levels = torch.stack([chosen.quantile(q, 0) for q in QUANTILES])
    return Calibration(
        sigma_data=round(math.sqrt(power / len(cells)), 4),
        log_snr_min=round(-loud - above_db * nepers, 2),
        log_snr_max=round(-weak + below_db * nepers, 2),
        shift=round(-median, 2),
        rms_dbfs=round(10 * math.log10(max(rms / len(cells), 1e-12)), 2),
        spectrum_db=(10 * levels.clamp(min=1e-12).log10()).tolist(),
        energies=energies,
        sample_rate=sample_rate,
    )


def plot(calibration: Calibration, current: Schedule, path: str | Path) -> None:
    """Draws the spectrum with the noise of the proposed path over it, and how much is seen at each time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from audiodiff.utils.files import atomic_file

    proposed = calibration.schedule()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
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
    right.plot(times, calibration.seen(current, times), label="schedule of the config")
    right.plot(times, calibration.seen(proposed, times), label="proposed")
    right.set(xlabel="t", ylabel="share of cells above the noise", title="what is left to be seen", ylim=(0, 1.02))
    right.legend()
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)
