"""The projection onto a mel, and the starts that rest on it, in real numbers, their rounds a loop of the runtime.

Holds what `consistency.MelProjection`, `consistency.coarse_to_fine` and the classes of `starts` compute, for
`torch.export`: complex numbers become pairs, and a hundred rounds one ONNX Loop. What can be used of the originals is
(`Octave.gains`, `starts.band_magnitudes`); tests hold the rest to them.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from audiodiff.export.transforms import RealTransform, halves, power_of
from audiodiff.griffin_lim.estimate import band_magnitudes
from audiodiff.griffin_lim.projection import MelProjection
from audiodiff.griffin_lim.subband import SubbandSTFT, lowest_octave
from audiodiff.mel import MelSpec
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, Start

__all__ = ["RealCoarseToFine", "RealMelNoise", "RealProjection", "hops", "repeated", "samples", "start_of"]

Round = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class RealOctave(nn.Module):
    """Transforms as `octaves.Octave` does, in real numbers.

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

    def of(self, mel: Tensor) -> SubbandSTFT:
        """Returns the octave of a mel, [B, M, F], of which only what is real may be used."""
        return SubbandSTFT(self.spec, mel, self.octave)


class RealProjection(nn.Module):
    """Moves a signal towards those that have a given mel: `consistency.MelProjection`.

    Args:
        spec: The mel's contract.
        n_iter: Rounds.
        momentum: Weight of the extrapolation; `MelProjection`'s own by default.
        octave: n projects the lowest 1 / 2^n of the bins alone.
    """

    def __init__(self, spec: MelSpec, n_iter: int, momentum: float | None = None, octave: int = 0) -> None:
        super().__init__()
        told = {} if momentum is None else {"momentum": momentum}
        original = MelProjection(spec, torch.zeros(1, spec.n_mels, 1), n_iter, octave=octave, **told)
        self.extrapolation = original.extrapolation if n_iter > 1 else 0.0
        self.n_iter = n_iter
        self.part = RealOctave(spec, octave)

    def forward(self, signal: Tensor, mel: Tensor) -> Tensor:
        """Maps a signal, [B, F, hop / r], and a mel, [B, M, F], to a signal.

        Phases of the round before are zeros in the first: then nothing is extrapolated.
        """
        if not self.n_iter:
            return signal
        octave, transform, share = self.part.of(mel), self.part.transform, self.extrapolation
        previous = signal.new_zeros(*signal.shape[:2], 2 * self.part.n_bins)
        weights = transform.weights(previous)

        def around(signal: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
            spectrum = transform.analyse(signal)
            power = power_of(spectrum)
            found = power.sqrt()
            factor, ahead = octave.gains(found), spectrum
            if share:
                phase = spectrum * twice(power.rsqrt())
                ahead = phase - share * previous
                factor, previous = factor * found * power_of(ahead).rsqrt(), phase
            return transform.inverse(ahead * twice(factor), weights), previous

        return repeated(around, self.n_iter, signal, previous)


class RealCoarseToFine(nn.Module):
    """Finds a signal that has a mel, octave by octave: `consistency.coarse_to_fine`.

    Args:
        spec: The mel's contract.
        rounds: Of all bins, of the lower half, and so on.
        momentum: Of the projection_iters.
    """

    def __init__(self, spec: MelSpec, rounds: Sequence[int], momentum: float) -> None:
        super().__init__()
        lowest = lowest_octave(spec)
        rounds = [*rounds[:lowest], sum(rounds[lowest:])]
        self.whole = RealOctave(spec)
        self.projection_iters = nn.ModuleList(
            RealProjection(spec, n_iter, momentum, octave)
            for octave, n_iter in reversed(list(enumerate(rounds)))
            if n_iter
        )

    def forward(self, spectrum: Tensor, mel: Tensor) -> Tensor:
        """Maps a first spectrum, [B, F, 2 K], and a mel to a signal, [B, F, hop]."""
        for project in self.projection_iters:
            part = project.part
            transform, before = part.transform, halves(spectrum)
            low = torch.cat([z[..., : part.n_bins] for z in before], dim=-1) / part.rate
            low = project(transform.inverse(low, transform.weights(low)), mel)
            found = halves(part.rate * transform.analyse(low))
            # The last bin of an octave holds what is aliased: it stays as it was.
            kept = part.n_bins - (part.octave > 0)
            joined = [torch.cat([f[..., :kept], z[..., kept:]], dim=-1) for f, z in zip(found, before, strict=True)]
            spectrum = torch.cat(joined, dim=-1)
        return self.whole.transform.inverse(spectrum, self.whole.transform.weights(spectrum))


class RealMelNoise(nn.Module):
    """Estimates the waveform as `starts.MelNoise` does, and what goes on from there.

    Args:
        spec: The mel's contract.
        onward: Maps a spectrum, [B, F, 2 K], and the mel to a signal; None for the inverse transform.
        project: Maps the signal and the mel to a signal; None for no projection.
    """

    def __init__(self, spec: MelSpec, onward: nn.Module | None = None, project: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.whole = RealOctave(spec)
        self.onward = onward
        self.project = project

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Maps a mel, [B, M, F], and noise, [B, 1, F hop], to a waveform, [B, 1, F hop]."""
        transform = self.whole.transform
        spectrum = transform.analyse(hops(noise, mel.shape[-1]))
        rounds_follow = self.onward is not None or self.project is not None  # and fit magnitudes themselves
        magnitudes = band_magnitudes(self.spec, mel, **({"n_iter": 0} if rounds_follow else {}))
        spectrum = spectrum * twice(magnitudes / power_of(spectrum).sqrt())
        if self.onward is not None:
            return samples(self.onward(spectrum, mel))
        signal = transform.inverse(spectrum, transform.weights(spectrum))
        return samples(signal if self.project is None else self.project(signal, mel))


def start_of(start: Start) -> RealMelNoise | None:
    """Returns what estimates a start's waveform in real numbers; None for pure noise.

    Raises:
        ValueError: There is no such counterpart.
    """
    if isinstance(start, PureNoise):
        return None
    if isinstance(start, CoarseToFine):
        return RealMelNoise(start.mel, onward=RealCoarseToFine(start.mel, start.rounds, start.momentum))
    if isinstance(start, GriffinLim):
        return RealMelNoise(start.mel, project=RealProjection(start.mel, start.n_iter, start.momentum))
    if type(start) is MelNoise:
        return RealMelNoise(start.mel)
    raise ValueError(f"a start of the kind {type(start).__name__} cannot be exported: choose noise, mel or griffin-lim")


def hops(waveform: Tensor, n_frames: int) -> Tensor:
    """Cuts a waveform, [B, 1, F hop], into hops, [B, F, hop]."""
    return waveform[:, 0].unflatten(1, (n_frames, -1))


def samples(signal: Tensor) -> Tensor:
    """Joins hops, [B, F, hop], to a waveform, [B, 1, F hop]."""
    return signal.flatten(1)[:, None]


def twice(factors: Tensor) -> Tensor:
    """Repeats factors of K bins, [B, F, K], for their real and imaginary parts, [B, F, 2 K]."""
    return torch.cat([factors, factors], dim=-1)


def repeated(around: Round, count: int, signal: Tensor, previous: Tensor) -> Tensor:
    """Goes so many rounds and returns the first of what they pass on; while it is exported, by a loop of the graph."""
    if not torch.compiler.is_exporting():
        for _ in range(count):
            signal, previous = around(signal, previous)
        return signal
    from torch._higher_order_ops import while_loop  # what torch.onnx knows as Loop

    def once_more(n: Tensor, signal: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return n + 1, *(_own(z) for z in around(signal, previous))

    begin = torch.zeros((), dtype=torch.int64), _own(signal), _own(previous)
    torch.compiler.reset()  # after a graph of fixed batch, those that the process made next were seen to be so too
    return while_loop(lambda n, signal, previous: n < count, once_more, begin)[1]


def _own(tensor: Tensor) -> Tensor:
    """Copies: what goes round a loop must be laid out alike each time, and be nobody else's."""
    return tensor.clone(memory_format=torch.contiguous_format)
