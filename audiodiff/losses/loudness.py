"""Difference of loudness in critical bands, with masking, and a penalty for added components.

    waveform ─ STFT, 32 ms ─► power ─ bands of a third of a Bark ─► excitation E ─ threshold in quiet ─► loudness N'
    heard = max(|N̂' - N'| - masked min(N̂', N'), 0)
    L = sqrt(mean over bands of heard²) + added mean over bands of (heard where Ê is more than 3 E)

References: Zwicker & Fastl, Psychoacoustics, 1990 (loudness); Traunmüller, 1990 (Bark); Terhardt, 1979 (threshold in
quiet); ITU-T P.862, 2001 (masked and added differences); as a loss, Martín-Doñas et al., 2018, IEEE Signal Processing
Letters 25.
"""

import torch
from torch import Tensor

from audiodiff.audio.stft import hann, stft
from audiodiff.losses.auxiliary import AuxiliaryLoss

EXPONENT = 0.23  # of Zwicker's power law
LEVEL = 88.0  # dB SPL of every reference: loud, so that its quiet parts count


class Loudness(AuxiliaryLoss):
    """Measure the mean unmasked difference of loudness, in sone per Bark.

    It resembles PESQ, so judge a model that was trained with it by other measures too.

    Args:
        sample_rate: Hz.
        weight: Factor of this loss in the total.
        masked: Share of the smaller loudness below which a difference is masked; 0.25 in P.862.
        added: Further weight where the test has three times the power.
        seconds: Length of a frame; the hop is a quarter of it.

    Raises:
        ValueError: A number is not positive; masked and added may be 0.
    """

    def __init__(
        self,
        sample_rate: int,
        weight: float = 1.0,
        masked: float = 0.1,
        added: float = 0.3,
        seconds: float = 0.032,
    ) -> None:
        super().__init__(weight)
        if not (sample_rate > 0 and masked >= 0 and added >= 0 and seconds > 0):
            raise ValueError(f"need positive numbers: {sample_rate=}, {masked=}, {added=}, {seconds=}")
        self.masked, self.added = masked, added
        self.n_fft = 4 * round(seconds * sample_rate / 4)
        self.bands, centres = critical_bands(self.n_fft, sample_rate)
        self.quiet = 10 ** (threshold_in_quiet(centres) / 10)  # 1 is the power of 0 dB SPL

    def __call__(self, test: Tensor, reference: Tensor) -> Tensor:
        """Return the mean over frames."""
        power = reference.square().mean((1, 2)).clamp(min=1e-8)  # pauses stay quiet
        gain = (10 ** (LEVEL / 10) / power)[:, None, None]
        test, reference = (gain * self.excitation(w) for w in (test, reference))
        ours, theirs = self.loudness(test), self.loudness(reference)
        audible = ((ours - theirs).abs() - self.masked * torch.minimum(ours, theirs)).clamp(min=0)
        more = test > 3 * reference + 100
        rms = (audible.square().mean(-1) + 1e-8).sqrt()  # the offset keeps its gradient finite at zero
        return (rms + self.added * (more * audible).mean(-1)).mean(-1)

    def excitation(self, waveform: Tensor) -> Tensor:
        """Sum power in critical bands, [B, 1, T] to [B, F, bands]; without its offset a sound's power is their sum."""
        window = hann(self.n_fft, self.n_fft, 1.0, waveform.dtype, waveform.device)
        spectrum = stft(waveform[:, 0], window, self.n_fft // 4, (self.n_fft // 2, self.n_fft // 2), "constant")
        scale = 2 / (self.n_fft * float(window.square().sum()))
        return scale * (spectrum.real**2 + spectrum.imag**2) @ self.bands.to(waveform).T

    def loudness(self, excitation: Tensor) -> Tensor:
        """Map excitation to specific loudness, [..., bands] both, in sone per Bark; 0 below the threshold in quiet."""
        quiet = self.quiet.to(excitation)
        audible = (0.5 + 0.5 * excitation / quiet).clamp(min=1)
        return 0.08 * quiet**EXPONENT * (audible**EXPONENT - 1)


def critical_bands(n_fft: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Group bins 1 to n_fft / 2 into bands of a third of a Bark or of one bin: [bands, bins], and centres in Hz."""
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    bark = 26.81 * frequency / (1960 + frequency) - 0.53
    band = ((bark - bark[1]) * 3).floor().long()
    band[0] = -1
    _, band = torch.unique(band, return_inverse=True)  # 0 is the offset's; bins wider than a band stand alone
    bands = torch.nn.functional.one_hot(band).T.double()[1:]
    return bands, bands @ frequency / bands.sum(1)


def threshold_in_quiet(frequency: Tensor) -> Tensor:
    """Return the threshold of hearing in quiet, in dB SPL, at frequencies in Hz."""
    k = frequency.clamp(min=20) / 1000
    return 3.64 * k**-0.8 - 6.5 * torch.exp(-0.6 * (k - 3.3) ** 2) + 1e-3 * k**4
