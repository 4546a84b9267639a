"""The mel spectrogram as a contract: a `MelSpec` says everything that makes two libraries' mels differ.

    mel[m, k] = (log(guard(min(ceiling, sum_f filter[m, f] (gain |STFT(waveform)[f, k]|)^power))) - mean[m]) / std[m]
    guard(x) = max(floor, x), or floor + x

The conventions of other libraries are files in conf/mel, `hifigan` to `whisper`; `griffin_lim.mel_conversion` converts
between any two. A model stores the parameters it was trained with, and every mel is made by the one `LogMel` of them.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import json
import math
import reprlib
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from audiodiff.utils.config import choices, choose, conf_dir
from audiodiff.utils.lazy import lazy_module
from audiodiff.utils.validation import fits, wanted

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from audiodiff.audio import stft as transforms
else:
    torch = lazy_module("torch")
    transforms = lazy_module("audiodiff.audio.stft")

LARGEST_FFT, MOST_BANDS = 2**16, 1024  # beyond all conventions; the filters of both have 130 MB


@dataclasses.dataclass(frozen=True)
class MelSpec:
    """Describe a log-mel spectrogram completely.

    Args:
        sample_rate: Hz.
        n_fft: Samples per transform.
        win_length: Samples under the Hann window, at most n_fft.
        hop_length: Samples from frame to frame.
        n_mels: Bands.
        f_min: Lower edge of the lowest band, Hz.
        f_max: Upper edge of the highest band, Hz, at most half the sample rate.
        scale: "slaney" or "htk".
        norm: "slaney" (bands of equal area) or "none" (bands of equal height).
        power: 1 for magnitudes, 2 for energies.
        center: True puts frame k around sample k hop (T // hop + 1 frames, as librosa and torch.stft);
            False around the middle of the k-th hop (T // hop frames, as HiFi-GAN).
        pad_mode: What lies beyond the ends: "reflect" or "constant" (zeros).
        log: "ln" or "log10".
        floor: Smallest value before the logarithm; what lies below is not known.
        ceiling: Largest value before the logarithm; None for no limit.
        dynamic_range: What lies more than this below a clip's largest log-mel is raised to there (Whisper); None for
            no limit. In units of the logarithm.
        mean: Subtracted from the logarithm: one number, or one for each band.
        std: By which the difference is divided, likewise.
        normalized: Whether the window is scaled to unit energy, as torchaudio's `normalized`.
        eps: Added to the squared magnitudes before the root is taken (HiFi-GAN: 1e-9).
        drop_last: Whether the frame around sample T of a centred mel is left out (Whisper): T // hop frames then.
        guard: "clamp" raises smaller values to the floor; "add" adds the floor to every value (NeMo).
        periodic: Whether the window is periodic, as usual for an STFT; False for a symmetric one (NeMo).
        defined_at: Rate at which the mel is defined, Hz, if it is not the sound's; see `at_rate`.

    Raises:
        ValueError: Two fields contradict each other.
    """

    sample_rate: int
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8000.0
    scale: str = "slaney"
    norm: str = "slaney"
    power: float = 1.0
    center: bool = False
    pad_mode: str = "reflect"
    log: str = "ln"
    floor: float = 1e-5
    ceiling: float | None = None
    dynamic_range: float | None = None
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    normalized: bool = False
    eps: float = 0.0
    drop_last: bool = False
    guard: str = "clamp"
    periodic: bool = True
    defined_at: int | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if isinstance(value := getattr(self, name), Sequence):
                object.__setattr__(self, name, tuple(float(v) for v in value))  # hashable, as a key of caches
        affine = [v if isinstance(v, tuple) else (v,) for v in (self.mean, self.std)]
        wrong = {
            "hop_length must be from 1 to win_length": not 1 <= self.hop_length <= self.win_length,
            "win_length must be at most n_fft": self.win_length > self.n_fft,
            f"f_max must be above f_min and at most {self.sample_rate / 2:g}": not (
                0 <= self.f_min < self.f_max <= self.sample_rate / 2
            ),
            f"n_fft must be at most {LARGEST_FFT}": self.n_fft > LARGEST_FFT,
            f"n_mels must be from 1 to n_fft // 2, and at most {MOST_BANDS}": not (
                1 <= self.n_mels <= min(MOST_BANDS, self.n_fft // 2)
            ),
            "scale must be slaney or htk": self.scale not in ("slaney", "htk"),
            "norm must be slaney or none": self.norm not in ("slaney", "none"),
            "pad_mode must be reflect or constant": self.pad_mode not in ("reflect", "constant"),
            "log must be ln or log10": self.log not in ("ln", "log10"),
            "power and floor must be positive, eps at least 0": not (self.power > 0 and self.floor > 0 <= self.eps),
            "defined_at must be positive": self.defined_at is not None and not self.defined_at > 0,
            "ceiling must be above floor": self.ceiling is not None and not self.ceiling > self.floor,
            "dynamic_range must be positive": self.dynamic_range is not None and not self.dynamic_range > 0,
            "mean and std must be numbers, one or n_mels of them": any(len(v) not in (1, self.n_mels) for v in affine),
            "mean must be finite and std positive": not all(map(math.isfinite, affine[0]))
            or not min(affine[1], default=0) > 0,
            "guard must be clamp or add": self.guard not in ("clamp", "add"),
            "drop_last belongs to center": self.drop_last and not self.center,
        }
        for rule, broken in wrong.items():
            if broken:
                fields = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in self.to_dict().items())
                raise ValueError(f"{rule}: got {fields}")

    @classmethod
    def preset(cls, name: str) -> MelSpec:
        """Look up a convention: a file of conf/mel, or what a system of conf/mel/systems.csv speaks.

        Raises:
            ValueError: There is none of that name; the nearest is suggested.

        >>> MelSpec.preset("zipvoice") == MelSpec.preset("vocos-24k-100")
        True
        """
        return choose("mel", systems().get(name, name))

    @classmethod
    def from_dict(cls, fields: Any) -> Self:
        """Build the spec that `to_dict`, or a user, wrote down; trust nothing in it.

        Raises:
            ValueError: A field is missing, unknown, of the wrong type or out of range.

        >>> MelSpec.from_dict({"sample_rate": 22050, "log": "log10"}).log
        'log10'
        """
        if not isinstance(fields, Mapping):
            raise ValueError('a mel spec is a JSON object, such as {"sample_rate": 22050, "n_mels": 80}')
        known = typing.get_type_hints(cls)
        values = {name: value for name, value in fields.items() if name != "_target_"}
        if strange := values.keys() - known.keys():
            raise ValueError(f"a mel spec has no {', '.join(sorted(strange))}; it has {', '.join(known)}")
        if "sample_rate" not in values:
            raise ValueError("a mel spec must give sample_rate")
        for name, value in values.items():
            if not fits(value, known[name]):
                raise ValueError(f"a mel spec's {name} is {wanted(known[name])}, and {reprlib.repr(value)} is given")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Write the fields as JSON has them, for `from_dict`."""
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    def at_rate(self, sample_rate: int) -> MelSpec:
        """Describe the same mel of a sound at another sample rate, so that a vocoder may sound above the mel's rate.

        Windows and hops last as long, bands lie at the same frequencies, and they weaken what a resampler to the lower
        rate weakens near half of it (`audio.resample`), so the mel is that of the resampled sound.

        Args:
            sample_rate: Hz; n_fft, win_length and hop_length must be whole at it.

        Raises:
            ValueError: They are not, or f_max lies above half the rate.

        >>> spec = MelSpec(16000).at_rate(24000)
        >>> spec.n_fft, spec.hop_length, spec.f_max, spec.at_rate(16000) == MelSpec(16000)
        (1536, 384, 8000.0, True)
        """
        sizes = {name: getattr(self, name) * sample_rate for name in ("n_fft", "win_length", "hop_length")}
        if split := [name for name, size in sizes.items() if size % self.sample_rate]:
            raise ValueError(
                f"a mel at {self.sample_rate} Hz cannot be described at {sample_rate} Hz: {', '.join(split)} would not "
                "be whole"
            )
        own = self.defined_at or self.sample_rate
        return dataclasses.replace(
            self,
            sample_rate=sample_rate,
            **{name: size // self.sample_rate for name, size in sizes.items()},
            defined_at=None if own == sample_rate else own,
        )

    @property
    def gain(self) -> float:
        """Factor by which magnitudes are multiplied, so that they are those at the rate where the mel is defined."""
        ratio = (self.defined_at or self.sample_rate) / self.sample_rate
        return ratio**0.5 if self.normalized else ratio

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ when any field does.

        >>> MelSpec(16000).fingerprint == MelSpec(16000, floor=1e-6).fingerprint
        False
        """
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def padding(self) -> tuple[int, int]:
        """Sample added on the left and on the right before framing."""
        if self.center:
            return self.n_fft // 2, self.n_fft // 2
        extra = self.n_fft - self.hop_length
        return extra // 2, extra - extra // 2

    @property
    def min_samples(self) -> int:
        """Fewest samples that a waveform must have: those of one frame, and enough to be reflected at its ends."""
        reflected = max(self.padding) if self.pad_mode == "reflect" else 0
        return max(self.n_fft - sum(self.padding), reflected + 1)

    def stft(self, waveform: Tensor) -> Tensor:
        """Transform [B, T] to the complex frames under this mel, [B, F, n_fft // 2 + 1]."""
        frames = transforms.stft(waveform, self.window(waveform), self.hop_length, self.padding, self.pad_mode)
        return frames[:, : waveform.shape[-1] // self.hop_length] if self.drop_last else frames

    def istft(self, spectrum: Tensor, weights: Tensor | None = None) -> Tensor:
        """Invert `stft` to [B, F hop_length]; `weights` as from `envelope`, to compute them once for many frames."""
        window, length = self.window(spectrum.real), spectrum.shape[-2] * self.hop_length
        return transforms.istft(spectrum, window, self.hop_length, self.padding, length, weights)

    def envelope(self, n_frames: int, like: Tensor) -> Tensor:
        """Compute the weights of `istft`, in the dtype and on the device of a tensor."""
        return transforms.envelope(self.window(like), n_frames, self.hop_length)

    def window(self, like: Tensor) -> Tensor:
        """Return the window, [n_fft], in the dtype and on the device of a tensor."""
        return transforms.hann(self.win_length, self.n_fft, 1.0, like.dtype, like.device, self.periodic)

    def of_bands(self, bands: Tensor) -> Tensor:
        """Map the band values of whole clips, [B, F, M], to log-mels, [B, M, F]."""
        if self.dynamic_range is not None:
            below = math.exp(-self.dynamic_range * self._log_unit)
            bands = bands.maximum(below * bands.amax((1, 2), keepdim=True))
        return self.compress(bands).transpose(1, 2)

    def compress(self, bands: Tensor) -> Tensor:
        """Map band values (magnitude^power), [..., M], to log-mels."""
        mean, std = self._affine(bands)
        if self.guard == "add":
            bands = bands.clamp(0.0, self.ceiling) + self.floor
        else:
            bands = bands.clamp(self.floor, self.ceiling)
        return (bands.log() / self._log_unit - mean) / std

    def raised(self, mel: Tensor) -> Tensor:
        """Raise what lies below the floor to it, in log-mels, [..., M, F]: a lower floor is heard as this one.

        Libraries share a convention and differ in its floor, as Vocos (1e-7) and F5-TTS (1e-5) do.

        >>> spec = MelSpec(16000, n_mels=1, floor=1e-5)
        >>> round(float(spec.raised(torch.tensor([[[-16.1]]]))), 2)
        -11.51
        """
        lowest = self.compress(torch.zeros(self.n_mels, dtype=mel.dtype, device=mel.device))
        return mel.maximum(lowest[:, None])

    def expand(self, mel: Tensor) -> Tensor:
        """Map log-mels, [..., M], to band magnitudes: the inverse of `compress`, with the power undone."""
        return self.log_magnitudes(mel).exp()

    def log_magnitudes(self, mel: Tensor) -> Tensor:
        """Map log-mels, [..., M], to the natural logarithm of band magnitudes."""
        mean, std = self._affine(mel)
        logs = (mel * std + mean) * self._log_unit
        if self.guard == "add":
            logs = (logs.exp() - self.floor).clamp(min=self.floor).log()
        return logs / self.power

    def log_ratio(self, wanted: Tensor, mel: Tensor) -> Tensor:
        """Map two log-mels, [..., M, F], to the logarithm of the ratio of their magnitudes, in nepers."""
        return (self.log_magnitudes(wanted.mT) - self.log_magnitudes(mel.mT)).mT

    def _affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(v, dtype=like.dtype, device=like.device) for v in (self.mean, self.std))
        return mean, std

    @property
    def _log_unit(self) -> float:
        return 1.0 if self.log == "ln" else math.log(10)


def preset_of(spec: MelSpec) -> str | None:
    """Name the file of conf/mel that describes a spec; None if there is none.

    >>> preset_of(MelSpec(16000))
    '16k-hop256'
    """
    return next((name for name in choices("mel") if choose("mel", name) == spec), None)


@functools.cache
def systems() -> dict[str, str]:
    """Read which preset each acoustic model of conf/mel/systems.csv speaks.

    >>> systems()["chatterbox"]
    'cosyvoice2'
    """
    with open(conf_dir() / "mel" / "systems.csv", encoding="utf-8", newline="") as file:
        return {row["name"]: row["preset"] for row in csv.DictReader(file)}
