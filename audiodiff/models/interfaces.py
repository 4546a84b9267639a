"""Call a vocoder as text-to-speech systems call theirs: one class for each interface.

    VocosInterface      decode(mel [B, M, F]) → [B, T]                      F5-TTS, ZipVoice
    HifiGanInterface    vocoder(mel [F, M] or [B, F, M]) → [T] or [B, T]    SpeechT5, AudioLDM, diffusers
    HiFTInterface       inference(speech_feat=mel [B, M, F]) → [B, T], source    CosyVoice, Chatterbox

Each is a module, so that `.to(device)` and `.eval()` do what the system expects, and takes mels of any floating dtype
on any device; sounds are float32, on the mel's device. Noise begins anew with each call, so a mel has one sound. The
first mel that is long enough is warned of if it does not look like what it is said to be.
"""

from types import SimpleNamespace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from audiodiff.griffin_lim.mel_conversion import Conversion
from audiodiff.mel import MelSpec
from audiodiff.mel.detection import FEWEST_FRAMES, warn_of_doubts
from audiodiff.models.registry import shipped_mels
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.arrays import check_floats


class _Interface(nn.Module):
    """Hold what the interfaces share.

    Args:
        vocoder: The model.
        mel: Convention of the input mels, or its preset's name; the model's own by default. Another one is
            converted first.
        steps: Solver steps; the model's own by default.
        seed: Of the noise.

    Raises:
        TypeError: `mel` is neither a name nor a MelSpec.
        ValueError: Mels of that convention cannot be converted, or the system plays them at another rate than the
            model's.
    """

    tells_rate: ClassVar[bool] = False  # to the system, which otherwise plays everything at the rate of its mels

    def __init__(
        self, vocoder: Vocoder, mel: MelSpec | str | None = None, steps: int | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.vocoder = vocoder
        self.mel = MelSpec.preset(mel) if isinstance(mel, str) else vocoder.mel if mel is None else mel
        if not isinstance(self.mel, MelSpec):
            raise TypeError(f"mel={mel!r}: give a preset's name, or a MelSpec")
        self._check_rate()
        self.conversion = Conversion(self.mel, vocoder.mel)
        self.steps = steps
        self.seed = seed
        self._judged = False

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> Self:
        """Load a shipped name, a file or a model of the hub; options as for the class."""
        return cls(Vocoder.from_pretrained(name), **options)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.vocoder.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vocoder.device

    def speak(self, mel: Tensor, fewer: int = 0) -> Tensor:
        """Make waveforms, [B, (F - fewer) hop], of log-mels, [B, M, F]; one too short for the model ends in silence.

        Raises:
            TypeError: The mel is no tensor.
            ValueError: It has another shape, holds anything but finite floats, or no sound has it in its convention.
        """
        self.vocoder.check_mel(mel, self.mel, whole=False)
        self._judge(mel)
        length = self.samples(mel.shape[-1] - fewer)
        spec, frames = self.mel, mel.shape[-1]
        missing = -(-spec.min_samples // spec.hop_length) - frames
        padded = mel.to(self.device, torch.float32)
        if missing > 0:
            silence = spec.of_bands(padded.new_zeros(len(mel), missing, spec.n_mels))
            padded = torch.cat([padded, silence], dim=-1)
        converted = self.conversion(padded, self.seed).mel
        sound = self.vocoder.generate(converted, steps=self.steps, seed=self.seed)[:, 0]
        return nn.functional.pad(sound, (0, max(0, length - sound.shape[-1])))[:, :length].to(mel.device)

    def _check_rate(self) -> None:
        rate, own = self.mel.sample_rate, self.vocoder.sample_rate
        if own != rate and not self.tells_rate:
            shape = rate, self.mel.n_mels
            fitting = [name for name, spec in shipped_mels().items() if (spec.sample_rate, spec.n_mels) == shape]
            such = f", such as {fitting[0]}" if fitting else ""
            raise ValueError(
                f"the system plays sounds of such mels at {rate} Hz, and this model makes {own} Hz: give a model of "
                f"{rate} Hz{such}"
            )

    def _judge(self, mel: Tensor) -> None:
        if not self._judged and mel.shape[-1] >= FEWEST_FRAMES:
            self._judged = True
            warn_of_doubts(mel, self.mel, self.vocoder.mel)

    def samples(self, frames: int) -> int:
        """Count the samples of so many frames, at the model's rate."""
        return round(frames * self.mel.hop_length * self.vocoder.sample_rate / self.mel.sample_rate)


class VocosInterface(_Interface):
    """The interface of `vocos.Vocos`; arguments as for all, see the module's first lines."""

    def decode(self, features_input: Tensor, **_: Any) -> Tensor:
        """Map log-mels, [B, M, F], to waveforms, [B, T].

        T is (F - 1) hop where frame k lies around sample k hop, as for the mel of 24 kHz, and F hop otherwise.
        """
        return self.speak(features_input, fewer=self.mel.center and not self.mel.drop_last)

    def forward(self, audio_input: Tensor, **_: Any) -> Tensor:
        """Analyse waveforms, [B, T], and decode their mels."""
        return self.decode(self.vocoder.spectrogram(audio_input[:, None].to(self.device, torch.float32)))


class HifiGanInterface(_Interface):
    """The interface of `transformers.SpeechT5HifiGan`; arguments as for all. The rate is in `config`."""

    tells_rate: ClassVar[bool] = True

    @property
    def config(self) -> SimpleNamespace:
        """What pipelines of diffusers read: bands, rate, and the samples of a frame as one factor."""
        hop = self.samples(1)
        return SimpleNamespace(
            model_in_dim=self.mel.n_mels, sampling_rate=self.vocoder.sample_rate, upsample_rates=[hop]
        )

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Map a log-mel, [F, M] or [B, F, M], to a waveform, [F hop] or [B, F hop]."""
        check_floats(spectrogram, "the mel")
        if spectrogram.ndim not in (2, 3) or spectrogram.shape[-1] != self.mel.n_mels:
            shape = list(spectrogram.shape)
            raise ValueError(f"the mel is {shape}; [frames, {self.mel.n_mels} bands], or several such, are wanted")
        sound = self.speak((spectrogram if spectrogram.ndim == 3 else spectrogram[None]).mT)
        return sound if spectrogram.ndim == 3 else sound[0]


class HiFTInterface(_Interface):
    """The interface of CosyVoice's and Chatterbox's `HiFTGenerator`; arguments as for all."""

    def inference(
        self, speech_feat: Tensor, cache_source: Tensor | None = None, finalize: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Map log-mels, [B, M, F], to waveforms, [B, F hop], and their source, [B, 1, F hop]: zeros, as there is none.

        A stream's pieces are made one by one; the host fades from one to the next, where their mels overlap.

        Args:
            speech_feat: Log-mels.
            cache_source: Not used.
            finalize: Not used.
        """
        sound = self.speak(speech_feat)
        return sound, torch.zeros_like(sound)[:, None]

    def forward(self, speech_feat: Tensor) -> Tensor:
        """Map log-mels, [B, M, F], to waveforms, [B, F hop]."""
        return self.inference(speech_feat)[0]
