"""Audio → mel → audio, for `audiodiff resynth`, `mel` and `vocode`, the training preview and the page."""

import contextlib
import dataclasses
import itertools
import logging
from collections.abc import Generator, Iterable, Iterator
from typing import Unpack

import torch
from torch import Tensor

from audiodiff.griffin_lim.mel_conversion import DECIBELS, Conversion
from audiodiff.mel import MelSpec
from audiodiff.mel.detection import FEWEST_FRAMES, warn_of_doubts
from audiodiff.mel.spectrogram import check_channels, mel_of
from audiodiff.models import registry, streaming
from audiodiff.models.sampling import SamplingOptions
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils import devices
from audiodiff.utils.arrays import check_floats

log = logging.getLogger(__name__)
BYTES_PER_SAMPLE = 300  # of memory for each sample of a chunk
BYTES_KEPT = 16  # of memory for each sample of a sound in chunks


@dataclasses.dataclass(frozen=True)
class Resynthesis:
    """Hold a sound, [C, T], and the number of network calls per channel."""

    waveform: Tensor
    network_calls: int


def analyse(vocoder: Vocoder, waveform: Tensor) -> Tensor:
    """Compute the log-mel spectrogram of each channel of a recording, on the vocoder's device; see `mel_of`."""
    check_floats(waveform, "the recording")
    return mel_of(vocoder.mel, waveform.to(vocoder.device))


def vocode(
    vocoder: Vocoder,
    mel: Tensor,
    *,
    convention: MelSpec | None = None,
    chunk_frames: int | None = None,
    **options: Unpack[SamplingOptions],
) -> Resynthesis:
    """Turn the log-mel spectrogram of each channel into sound; every channel gets the same noise.

    Args:
        vocoder: The model; runs on its device.
        mel: [C, M, F] with C = 1 or 2.
        convention: Convention of the mel; the vocoder's own by default. A mel of another convention is converted first,
            with a warning that states the loss. A mel that does not look like its convention is warned of too.
        chunk_frames: As for `Vocoder.generate`.
        options: steps, solver, times, start, seed and callback: see `SamplingOptions`.

    Returns:
        A waveform of F hops; as long as its mel in the vocoder's convention, if that is another.

    Raises:
        TypeError: The mel is no tensor, or its convention is something else, such as a name.
        ValueError: The mel has more than two channels, the wrong shape, or is not finite; its convention lacks
            information that the vocoder needs; or no sound has such a mel in that convention.
    """
    if not isinstance(convention, MelSpec | None):
        raise TypeError(f"convention={convention!r}: give a MelSpec, such as MelSpec.preset('hifigan')")
    check_floats(mel, "the mel")
    check_channels(len(mel), "mel")
    spec = convention or vocoder.mel
    _check_memory(vocoder, mel, spec)
    warn_of_doubts(mel, spec, vocoder.mel)
    if spec != vocoder.mel:
        vocoder.check_mel(mel, spec)
        mel = _converted(mel, _conversion(spec, vocoder.mel), options.get("seed", 0))
    return _generate(vocoder, mel, chunk_frames, **options)


def vocode_stream(
    vocoder: Vocoder,
    pieces: Iterable[Tensor],
    *,
    chunk_frames: int = 1,
    live: bool = False,
    **options: Unpack[SamplingOptions],
) -> Iterator[Tensor]:
    """Turn log-mel frames into sound while they arrive; the pieces, joined, equal the output of `vocode`.

    The sound lags `vocoder.look_ahead(…)` frames behind the mel: many seconds for `speech-16k` as it is shipped, whose
    start looks far ahead, and `vocoder.live_delay()` seconds, less than a tenth, with `live=True`.

    Args:
        vocoder: The model; runs on its device.
        pieces: Log-mel spectrograms, [C, M, any] with C = 1 or 2, one after the other.
        chunk_frames, live: As for `Vocoder.stream`.
        options: steps, solver, times, start, seed and callback: see `SamplingOptions`.

    Yields:
        [C, any], on the CPU.

    Raises:
        ValueError: A piece has another shape than the first, or is not finite; earlier output remains valid.
    """
    arriving = iter(pieces)
    first = next(arriving, None)
    if first is None:
        raise ValueError("the mel has no frames: give at least one")
    check_channels(len(first), "mel")
    copies = itertools.tee(itertools.chain([first], arriving), len(first))
    streams = [
        vocoder.stream(_channel(copy, number), chunk_frames=chunk_frames, live=live, **options)
        for number, copy in enumerate(copies)
    ]
    for channels in zip(*streams, strict=True):
        yield torch.cat(channels)[:, 0].cpu()


def watched(vocoder: Vocoder, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Pass pieces of a mel, [C, M, any], on, and warn once if the first do not look like the model's convention."""
    seen: list[Tensor] = []
    for piece in pieces:
        if sum(p.shape[-1] for p in seen) < FEWEST_FRAMES:
            seen.append(piece)
            warn_of_doubts(torch.cat(seen, -1), vocoder.mel, vocoder.mel)
        yield piece


def _channel(pieces: Iterable[Tensor], number: int) -> Iterator[Tensor]:
    return (piece[number : number + 1] for piece in pieces)


def resynthesise(
    vocoder: Vocoder, waveform: Tensor, *, chunk_frames: int | None = None, **options: Unpack[SamplingOptions]
) -> Resynthesis:
    """Send each channel of a recording through its mel spectrogram and back.

    Args:
        vocoder: The model; runs on its device.
        waveform: [C, T] with C = 1 or 2, at the vocoder's sample rate.
        chunk_frames: As for `Vocoder.generate`.
        options: steps, solver, times, start, seed and callback: see `SamplingOptions`.

    Returns:
        A waveform of exactly the input's length.

    Raises:
        ValueError: The recording has more than two channels or is too short.
    """
    mel = analyse(vocoder, waveform)
    _check_memory(vocoder, mel, vocoder.mel)
    sound = _generate(vocoder, mel, chunk_frames, **options)
    return Resynthesis(sound.waveform[:, : waveform.shape[-1]], sound.network_calls)


def _generate(
    vocoder: Vocoder, mel: Tensor, chunk_frames: int | None, **options: Unpack[SamplingOptions]
) -> Resynthesis:
    """Generate the sound of each channel of a mel in the vocoder's own convention, [C, M, F]."""
    with noted_calls(vocoder.denoiser.network) as calls:
        channels = [vocoder.generate(channel[None], chunk_frames=chunk_frames, **options)[0] for channel in mel]
    waveform = torch.cat(channels) if len(channels) > 1 else channels[0]
    return Resynthesis(waveform.cpu(), len(calls) // len(channels))


def _check_memory(vocoder: Vocoder, mel: Tensor, convention: MelSpec) -> None:
    seconds = mel.shape[-1] * convention.hop_length / convention.sample_rate
    at_once = min(seconds, streaming.LONG_SECONDS)
    needed = (BYTES_PER_SAMPLE * at_once + BYTES_KEPT * seconds) * vocoder.sample_rate
    free = devices.free_memory(vocoder.device)
    if free is not None and needed > free:
        raise ValueError(
            f"the mel lasts {seconds / 3600:.1f} h, which takes about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} are free: cut it into pieces"
        )


def _conversion(source: MelSpec, target: MelSpec) -> Conversion:
    """Build a conversion; raise ValueError that names the shipped vocoders that need none."""
    try:
        return Conversion(source, target)
    except ValueError as error:
        names = shipped_for(source)
        raise ValueError(f"{error}{f', such as --model {names[0]}' if names else ''}") from None


def shipped_for(source: MelSpec) -> list[str]:
    """List the shipped vocoders that take a mel of a convention as it is."""
    names = []
    for name, spec in registry.shipped_mels().items():
        with contextlib.suppress(ValueError):  # another sound's width: no conversion at all
            if Conversion(source, spec).exact:
                names.append(name)
    return names


def _converted(mel: Tensor, conversion: Conversion, seed: int) -> Tensor:
    """Convert each channel, and warn of the loss."""
    with torch.inference_mode():
        results = [conversion(channel[None].float(), seed) for channel in mel]
    notes = conversion.notes()
    if not conversion.exact:
        loss = DECIBELS * sum(f.residual for f in results) / len(results)
        notes.append(f"the sound behind the converted mel has the given one to {loss:.1f} dB on average")
        notes += [f"the shipped {name} takes such a mel as it is" for name in shipped_for(conversion.source)]
    if notes:
        log.warning("the mel is converted to the model's: %s", "; ".join(notes))
    return torch.cat([f.mel for f in results])


@contextlib.contextmanager
def noted_calls(network: torch.nn.Module) -> Generator[list[None]]:
    """Note each call of a network in a list inside a `with` block."""
    calls: list[None] = []
    with network.register_forward_hook(lambda *_: calls.append(None)):
        yield calls
