"""The mel is known, so an estimate of the sound must have it: projection onto the waveforms with a given mel.

Few-step estimates lose energy where they are unsure, mostly in the highs. The remedy needs no training: scale each
time-frequency bin by the ratio of the wanted band value to the one that the estimate has.
"""

from torch import Tensor

from audiodiff.mel import MelSpec, band_weights, mel_filters

__all__ = ["MelProjection"]


class MelProjection:
    """Moves a waveform towards those that have a given mel.

        X ← X exp(sum_m w[m, f] clamp(log(wanted[m] / has[m]), -limit, limit)),   then overlap-add; n_iter times

    Overlapping bands and frames disagree a little, so one iteration is not exact; two leave little to gain.

    Args:
        spec: The mel's contract.
        mel: What the waveform must have, [B, M, F].
        n_iter: Iterations; each costs two short-time Fourier transforms.
        limit: Largest correction per iteration, nepers of magnitude.
    """

    def __init__(self, spec: MelSpec, mel: Tensor, n_iter: int = 2, limit: float = 3.0) -> None:
        self.spec = spec
        self.wanted = mel.transpose(1, 2)
        self.n_iter = n_iter
        self.limit = limit

    def __call__(self, waveform: Tensor) -> Tensor:
        """Maps [B, 1, F hop] to [B, 1, F hop]."""
        spec = self.spec
        frames = self.wanted.shape[1]
        spread = band_weights(spec, spec.n_fft // 2 + 1, spec.sample_rate / spec.n_fft, 0.0, waveform)
        for _ in range(self.n_iter):
            spectrum = spec.stft(waveform[:, 0])[:, :frames]  # a centred mel has one frame beyond the last hop
            bands = spectrum.abs() ** spec.power @ mel_filters(spec, waveform)
            ratio = spec.log_ratio(self.wanted, spec.compress(bands)).clamp(-self.limit, self.limit)
            waveform = spec.istft(spectrum * (ratio @ spread).exp())[:, None]
        return waveform
