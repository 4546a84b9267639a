"""Lossy codecs as augmentation: telephones, downloads, calls over the network."""

import io
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.data.augment.effects import Effect
from audiodiff.data.augment.filters import aligned, ordered

CODING = {  # libsndfile's names of format and coding
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "ulaw": ("WAV", "ULAW"),
    "gsm": ("WAV", "GSM610"),
}
COMPRESSED = ("mp3", "vorbis", "opus")
RATES = {"opus": 6 * 8000, "ulaw": 8000, "gsm": 8000}  # Hz, at which a format works
FULL = 0.99  # of full scale, the highest peak before coding
DELAY = 4096  # samples, beyond the largest delay of a codec


class Codec(Effect):
    """Encode and decode the clip in a lossy format, and undo the delay of the codec.

    GSM and mu-law work at 8 kHz, as telephones do, and Opus at 48 kHz. Compression is drawn so that 1 - compression is
    log-uniform.

    Args:
        probability: Share of the clips that are changed.
        formats: Formats to draw from: mp3, vorbis, opus, ulaw, gsm; the last two have no compression.
        compression: Least and most compression of libsndfile, from 0 (hardly audible) to 0.99.

    Raises:
        ValueError: A format is unknown, or this libsndfile cannot write it; compression is out of range.
    """

    FORMATS = tuple(CODING)

    def __init__(
        self,
        probability: float = 0.5,
        formats: Sequence[str] = FORMATS,
        compression: Sequence[float] = (0.5, 0.99),
    ) -> None:
        super().__init__(probability)
        unknown = [name for name in formats if name not in CODING]
        if unknown or not formats:
            raise ValueError(f"formats={list(formats)}: choose of {', '.join(CODING)}")
        self.formats = list(formats)
        self.compression = ordered("compression", compression)
        if not 0 <= self.compression[0] <= self.compression[1] <= 0.99:
            raise ValueError(f"compression={list(compression)} is not in [0, 0.99]")
        import soundfile

        lacking = [name for name in formats if not soundfile.check_format(*CODING[name])]
        if lacking:
            raise ValueError(f"formats={list(formats)}: this libsndfile does not write {', '.join(lacking)}")

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Encode and decode in memory; peaks above full scale are scaled down before and up after."""
        name, (least, most) = rng.choice(self.formats), self.compression
        level = 1 - (1 - least) * ((1 - most) / (1 - least)) ** rng.random()
        scale = max(1.0, float(clip.abs().max()) / FULL)
        decoded, rate = recoded(clip / scale, sample_rate, name, level)
        return aligned(audio.resample(decoded, rate, sample_rate) * scale, clip, DELAY)


def recoded(clip: Tensor, sample_rate: int, name: str, compression: float) -> tuple[Tensor, int]:
    """Encode and decode a clip, [1, T], in a format of `CODING`: [1, T'] and its rate in Hz."""
    import soundfile

    rate = RATES.get(name, sample_rate)
    samples = audio.resample(clip, sample_rate, rate)[0].numpy()
    kind, coding = CODING[name]
    file = io.BytesIO()
    level = compression if name in COMPRESSED else None
    soundfile.write(file, samples, rate, format=kind, subtype=coding, compression_level=level)
    file.seek(0)
    decoded, decoded_rate = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(decoded.T.copy()), decoded_rate
