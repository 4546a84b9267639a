"""What formats that lose something do to a clip: telephones, downloads, calls over the network."""

import io
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.data.augment.effects import Effect
from audiodiff.data.augment.filters import aligned, ordered

__all__ = ["Codec"]

CODING = {  # libsndfile's names of format and coding
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "ulaw": ("WAV", "ULAW"),
    "gsm": ("WAV", "GSM610"),
}
COMPRESSED = ("mp3", "vorbis", "opus")
RATES = {"opus": 6 * 8000, "ulaw": 8000, "gsm": 8000}  # Hz, at which a format works
FULL = 0.99  # of full scale, to which louder peaks are lowered before they are coded
DELAY = 4096  # samples by which a codec may be late; MP3's are at most 2257


class Codec(Effect):
    """Write and read the clip in another format; the delay of the codec is taken back.

    GSM and mu-law go by way of 8 kHz, as telephones do, and Opus by the 48 kHz that it works at. Compression is drawn
    so that what it leaves falls geometrically: MP3 of speech at 16 kHz has 80 kb/s at 0, 53 at 0.5 and 28 at 0.99,
    where nothing is left above 5 kHz; Opus 265, 138 and 13; Vorbis 100, 70 and 43.

    Args:
        formats: Of which one is drawn: mp3, vorbis, opus, ulaw, gsm; the last two know no compression.
        compression: Least and most, as libsndfile counts it: from 0, hardly audible, to 0.99.

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
        """Encode and decodes in memory; peaks above full scale are lowered for it, and raised again."""
        name, (least, most) = rng.choice(self.formats), self.compression
        level = 1 - (1 - least) * ((1 - most) / (1 - least)) ** rng.random()
        scale = max(1.0, float(clip.abs().max()) / FULL)
        heard, rate = recoded(clip / scale, sample_rate, name, level)
        return aligned(audio.resample(heard, rate, sample_rate) * scale, clip, DELAY)


def recoded(clip: Tensor, sample_rate: int, name: str, compression: float) -> tuple[Tensor, int]:
    """Write a clip, [1, T], in a format of `CODING`, and read it: [1, T'] and its rate in Hz."""
    import soundfile

    rate = RATES.get(name, sample_rate)
    samples = audio.resample(clip, sample_rate, rate)[0].numpy()
    kind, coding = CODING[name]
    file = io.BytesIO()
    level = compression if name in COMPRESSED else None
    soundfile.write(file, samples, rate, format=kind, subtype=coding, compression_level=level)
    file.seek(0)
    heard, heard_rate = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(heard.T.copy()), heard_rate
