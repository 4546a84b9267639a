"""Convert the log-mels of one convention to another, exactly where that is possible, and say by how much it is not.

    same analysis      log base, mean and std, norm, window scale, floor: a function of each value
    other rate         windows and hops that last as long: a function of each value too, up to the lower f_max
    other analysis     bands, hop, window, power, rate: a waveform that has the mel is found, and analysed anew

The waveform is that of `coarse_to_fine`: its magnitudes are fitted to the mel anew in each round under the constraint
that they belong to a sound. On 6 recordings that left 0.07 (HiFi-GAN) to 0.16 nats (SpeechT5) of error in the mel of
speech-16k; non-negative least squares in each frame, interpolated over time and frequency, left 0.19 to 0.47 (measured
once, when this was written). What a mel does not say is refused.
"""

import contextlib
import dataclasses

import torch
from torch import Tensor

from audiodiff.audio import resample
from audiodiff.diffusion.solvers.base import white_noise
from audiodiff.griffin_lim.estimate import coarse_to_fine, random_phase_spectrum
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.filterbank import mel_filters
from audiodiff.utils.arrays import check_floats

ANALYSIS = (
    "sample_rate",
    "n_fft",
    "win_length",
    "hop_length",
    "n_mels",
    "f_min",
    "f_max",
    "scale",
    "power",
)
"""Fields in which two specs must agree for their mels to be functions of each other, but for the frames at the ends."""

ITERATIONS, MOMENTUM = (2, 8, 32, 64), 0.99  # of the estimate: on all bins, the lower half, quarter, eighth
DECIBELS = 8.686  # per neper
MOST_LOSS_DB = 20.0  # largest difference of a converted mel from its source; right ones differ by 1 to 4
LEAST_UPPER = 0.9  # of the highest frequency that the target needs: beyond, the last band is continued
MOST_LOWER_HZ = 150.0  # above the lowest frequency that the target needs, likewise
LEAST_BANDS, LONGEST_HOP = 0.5, 2.0  # share of the target's bands; multiple of the target's hop in seconds


@dataclasses.dataclass(frozen=True)
class Converted:
    """Hold a converted log-mel, [B, M, F], and what was lost.

    Args:
        mel: In the target's convention.
        residual: Mean difference in nepers between the mel that was given and that of the sound behind the converted
            one; 0 where the conversion is exact.
    """

    mel: Tensor
    residual: float


class Conversion:
    """Turn log-mels of one spec into those of another.

    Args:
        source: Convention of the input mels.
        target: The convention that is wanted.

    Raises:
        ValueError: The source leaves out what the target needs; the field is named.
    """

    def __init__(self, source: MelSpec, target: MelSpec) -> None:
        self.source = _at_rate_of(target, source)
        self.target = target
        self.exact = all(getattr(self.source, name) == getattr(target, name) for name in ANALYSIS)
        if not self.exact:
            _check(source, target)

    def __call__(self, mel: Tensor, seed: int = 0) -> Converted:
        """Convert [B, M, F]; frames keep their number if the analysis is the same, else the sound its length.

        What has 16 bits is converted in float32.

        Args:
            mel: Of the source's convention.
            seed: Seed of the phases of the intermediate waveform.

        Raises:
            TypeError: The mel is no tensor.
            ValueError: It has another shape, holds anything but finite floats, or no sound has it in the source's
                convention.
        """
        check_floats(mel, "the mel")
        if mel.ndim != 3 or mel.shape[1] != self.source.n_mels or 0 in mel.shape:
            raise ValueError(f"the mel is {list(mel.shape)}; [clips, {self.source.n_mels} bands, frames] is wanted")
        if not bool(torch.isfinite(mel).all()):
            raise ValueError("the mel holds values that are NaN or infinite: apply the floor before the logarithm")
        mel = mel.float() if mel.dtype.itemsize < 4 else mel
        if self.source == self.target:
            return Converted(mel, 0.0)
        if self.exact:
            return Converted(self._by_value(mel), 0.0)
        like = torch.empty(1, 1, mel.shape[-1] * self.source.hop_length, dtype=torch.float32)
        noise = white_noise(like, [torch.Generator().manual_seed(seed)])
        spectrum = random_phase_spectrum(self.source, mel, noise.to(mel).expand(len(mel), -1, -1), n_iter=0)
        waveform = coarse_to_fine(self.source, mel, spectrum, ITERATIONS, MOMENTUM)
        actual = LogMel(self.source)(waveform)[..., : mel.shape[-1]]
        residual = float(self.source.log_ratio(mel[..., : actual.shape[-1]], actual).abs().mean().detach())
        if not DECIBELS * residual <= MOST_LOSS_DB:  # nan where values leave the range of floats
            raise ValueError(
                f"no sound has this mel in the declared convention, the nearest is {DECIBELS * residual:.0f} dB away "
                "on average: say what it is by --mel-preset or --mel-spec"
            )
        sound = resample(waveform[:, 0].cpu(), self.source.sample_rate, self.target.sample_rate)
        hop = self.target.hop_length
        needed = max(self.target.min_samples, sound.shape[-1])
        sound = torch.nn.functional.pad(sound, (0, -(-needed // hop) * hop - sound.shape[-1]))
        converted = LogMel(self.target)(sound[:, None].to(mel))
        return Converted(converted[..., : sound.shape[-1] // hop], residual)

    def notes(self) -> list[str]:
        """Say in words what the conversion does beyond changing units."""
        source, target, notes = self.source, self.target, []
        if not self.exact:
            changed = [name for name in ANALYSIS if getattr(source, name) != getattr(target, name)]
            differ = "differs" if len(changed) == 1 else "differ"
            notes.append(f"{', '.join(changed)} {differ}: converted by way of a waveform")
            if source.f_max < target.f_max:
                notes.append(f"nothing is known from {source.f_max:g} to {target.f_max:g} Hz")
            if source.f_max > target.f_max:
                notes.append(f"what lies above {target.f_max:g} Hz is dropped")
        elif source.center != target.center:
            late = self._shift / target.sample_rate * 1000
            notes.append(f"frames lie elsewhere: the sound is {abs(late):.1f} ms {'late' if late > 0 else 'early'}")
        if source.floor > target.floor:
            notes.append("what lies below the floor of the mel that was given stays there")
        return notes

    @property
    def _shift(self) -> int:
        """Sample by which the middle of frame 0 comes later in the target."""
        middle = [spec.n_fft // 2 - spec.padding[0] for spec in (self.source, self.target)]
        return middle[1] - middle[0]

    def _by_value(self, mel: Tensor) -> Tensor:
        filters = (mel_filters(spec, mel).sum(0) for spec in (self.source, self.target))
        had, wanted = (total.clamp(min=1e-12) for total in filters)
        bands = self.source.expand(mel.mT) ** self.source.power * (wanted / had)
        return self.target.of_bands(bands)


def convert_mel(mel: Tensor, source: MelSpec, target: MelSpec) -> Tensor:
    """Convert a log-mel, [B, M, F]; `Conversion` tells more.

    Raises:
        TypeError: The mel is no tensor.
        ValueError: The source leaves out what the target needs, which is named, or the mel is none of the source.
    """
    return Conversion(source, target)(mel).mel


def _at_rate_of(target: MelSpec, source: MelSpec) -> MelSpec:
    """Describe a source at its target's rate if both analyse sound alike there."""
    with contextlib.suppress(ValueError):
        if (scaled := source.at_rate(target.sample_rate)).n_fft == target.n_fft:
            return scaled
    return source


def _check(source: MelSpec, target: MelSpec) -> None:
    hops = [spec.hop_length / spec.sample_rate for spec in (source, target)]
    wrong = {
        f"f_max is {source.f_max:g} Hz, and {target.f_max:g} Hz are needed": source.f_max < LEAST_UPPER * target.f_max,
        f"f_min is {source.f_min:g} Hz, and {target.f_min:g} Hz are needed": source.f_min
        > target.f_min + MOST_LOWER_HZ,
        f"n_mels is {source.n_mels}, and {target.n_mels} are needed": source.n_mels < LEAST_BANDS * target.n_mels,
        f"hop_length is {1000 * hops[0]:.1f} ms, and {1000 * hops[1]:.1f} ms are needed": hops[0]
        > LONGEST_HOP * hops[1],
    }
    if reasons := [reason for reason, broken in wrong.items() if broken]:
        raise ValueError(f"the mel cannot be converted: its {'; its '.join(reasons)}; use a model that fits it")
