"""The mel projection and the starts that use it, in real numbers, with their iterations as loops of the runtime.

Holds what `griffin_lim` and the classes of `starts` compute, for `torch.export`: complex numbers become pairs, and a
hundred iterations one ONNX Loop. An iteration is `griffin_lim.projection.iterate` itself, with transforms by matrices.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiodiff.export.loops import repeat
from audiodiff.export.transforms import RealTransform
from audiodiff.griffin_lim.estimate import Octave, band_magnitudes, climb, iterations_by_octave
from audiodiff.griffin_lim.projection import MelProjection, iterate, pair_power
from audiodiff.griffin_lim.subband import SubbandSTFT
from audiodiff.mel import MelSpec
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, Start


class RealOctave(nn.Module):
    """Transform as `SubbandSTFT` does, in real numbers.

    Args:
        spec: The mel's contract.
        octave: 0 for all bins, n for the lowest 1 / 2^n of them.
    """

    def __init__(self, spec: MelSpec, octave: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.octave = octave
        part = SubbandSTFT(spec, torch.zeros(1, spec.n_mels, 1), octave)
        self.rate, self.n_bins = part.rate, part.n_bins
        self.transform = RealTransform(part.window, part.hop_length, part.padding, spec.pad_mode)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Transform [B, 2, F, K] back to [B, F, hop / r]."""
        return self.transform.inverse(spectrum, self.transform.weights(spectrum))

    def of(self, mel: Tensor) -> SubbandSTFT:
        """Return the octave of a mel, [B, M, F], of which only what is real may be used."""
        return SubbandSTFT(self.spec, mel, self.octave)


class RealProjection(nn.Module):
    """Move a signal towards those that have a given mel: `MelProjection`.

    Args:
        spec: The mel's contract.
        n_iter: Rounds.
        momentum: Weight of the extrapolation; `MelProjection`'s own by default.
        octave: n projects the lowest 1 / 2^n of the bins alone.
    """

    def __init__(self, spec: MelSpec, n_iter: int, momentum: float | None = None, octave: int = 0) -> None:
        super().__init__()
        options = {} if momentum is None else {"momentum": momentum}
        original = MelProjection(spec, torch.zeros(1, spec.n_mels, 1), n_iter, octave=octave, **options)
        self.extrapolation = original.extrapolation if n_iter > 1 else 0.0
        self.n_iter = n_iter
        self.part = RealOctave(spec, octave)

    def forward(self, signal: Tensor, mel: Tensor) -> Tensor:
        """Map a signal, [B, F, hop / r], and a mel, [B, M, F], to a signal.

        Phases of the round before are zeros in the first: then nothing is extrapolated. The bin of 0 Hz, which no band
        holds, is left out: the products of the others have even sizes, which takes a fifth less.
        """
        if not self.n_iter:
            return signal
        transform, part = self.part.transform, self.part.of(mel)
        part.filters, part.spread, part.silent = part.filters[1:], part.spread[1:], None
        nothing = signal.new_zeros(*signal.shape[:2], self.part.n_bins - 1)
        weights = transform.weights(nothing[:, None])

        def iteration(signal: Tensor, *previous: Tensor) -> tuple[Tensor, ...]:
            signal, (real, imaginary) = iterate(
                lambda signal: transform.pair_of(transform.framed(signal), first=1),
                part.gains,
                lambda pair: transform.joined(transform.frames_of_pair(pair, first=1), weights),
                signal,
                previous,
                self.extrapolation,
            )
            return signal, real, imaginary

        return repeat(iteration, self.n_iter, signal, nothing, nothing)[0]


class RealCoarseToFine(nn.Module):
    """Find a signal that has a mel, octave by octave: `griffin_lim.estimate.coarse_to_fine`.

    Args:
        spec: Mel parameters.
        n_iter: Iterations on all bins, on the lower half, and so on.
        momentum: Of the projections.
    """

    def __init__(self, spec: MelSpec, n_iter: Sequence[int], momentum: float) -> None:
        super().__init__()
        self.whole = RealOctave(spec)
        self.projections = nn.ModuleList(
            RealProjection(spec, count, momentum, octave) for octave, count in iterations_by_octave(spec, n_iter)
        )

    def forward(self, spectrum: Tensor, mel: Tensor) -> Tensor:
        """Map a first spectrum, [B, 2, F, K], and a mel to a signal, [B, F, hop]."""

        def octave_of(project: RealProjection) -> Octave:
            part = project.part
            return Octave(part.rate, part.n_bins, part.transform.analyse, part.synthesise, lambda z: project(z, mel))

        return climb(map(octave_of, self.projections), spectrum, self.whole.synthesise)


class RealMelNoise(nn.Module):
    """Estimate the waveform as `starts.MelNoise` does, and what goes on from there.

    Args:
        spec: The mel's contract.
        onward: Maps a spectrum, [B, 2, F, K], and the mel to a signal; None for the inverse transform.
        project: Maps the signal and the mel to a signal; None for no projection.
    """

    def __init__(self, spec: MelSpec, onward: nn.Module | None = None, project: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.whole = RealOctave(spec)
        self.onward = onward
        self.project = project

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Map a mel, [B, M, F], and noise, [B, 1, F hop], to a waveform, [B, 1, F hop]."""
        transform = self.whole.transform
        spectrum = transform.analyse(hops(noise, mel.shape[-1]))
        rounds_follow = self.onward is not None or self.project is not None  # and fit magnitudes themselves
        magnitudes = band_magnitudes(self.spec, mel, **({"n_iter": 0} if rounds_follow else {}))
        spectrum = spectrum * (magnitudes / pair_power(*spectrum.unbind(1)).sqrt()).unsqueeze(1)
        if self.onward is not None:
            return samples(self.onward(spectrum, mel))
        signal = self.whole.synthesise(spectrum)
        return samples(signal if self.project is None else self.project(signal, mel))


def start_of(start: Start) -> RealMelNoise | None:
    """Return what estimates a start's waveform in real numbers; None for pure noise.

    Raises:
        ValueError: There is no such counterpart.
    """
    if isinstance(start, PureNoise):
        return None
    if isinstance(start, CoarseToFine):
        return RealMelNoise(start.mel, onward=RealCoarseToFine(start.mel, start.iterations, start.momentum))
    if isinstance(start, GriffinLim):
        return RealMelNoise(start.mel, project=RealProjection(start.mel, start.n_iter, start.momentum))
    if type(start) is MelNoise:
        return RealMelNoise(start.mel)
    raise ValueError(f"a start of the kind {type(start).__name__} cannot be exported: choose noise, mel or griffin-lim")


def hops(waveform: Tensor, n_frames: int) -> Tensor:
    """Cut a waveform, [B, 1, F hop], into hops, [B, F, hop]."""
    return waveform[:, 0].unflatten(1, (n_frames, -1))


def samples(signal: Tensor) -> Tensor:
    """Join hops, [B, F, hop], to a waveform, [B, 1, F hop]."""
    return signal.flatten(1)[:, None]
