"""Puts a recording beside what a model makes of its mel: WAV files, and one picture of their spectrograms.

    python demos/examples/listen.py speech-24k demos/audio/speech.flac demos/audio/listen

The recording must be one that the model never heard. Sounds: the start alone, one call, four calls.
"""

import argparse
from pathlib import Path

import matplotlib
import torch

from audiodiff import audio
from audiodiff.evaluation.plots import spectrogram_db
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import analyse, vocode

matplotlib.use("Agg")


def main() -> None:
    """Write FOLDER/*.wav and FOLDER/spectrograms.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recording", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    vocoder = Vocoder.load(options.model)
    waveform, rate = audio.read(options.recording, vocoder.sample_rate)
    mel = analyse(vocoder, waveform[:1])
    noise = torch.randn(1, 1, mel.shape[-1] * vocoder.hop_length, generator=torch.Generator().manual_seed(0))
    alone = vocoder.start.waveform(mel, noise)
    sounds = {
        "recording": waveform[:1],
        "start alone": None if alone is None else alone[0],
        "1 call": vocode(vocoder, mel, steps=1).waveform,
        "4 calls": vocode(vocoder, mel, steps=4).waveform,
    }
    sounds = {name: sound[:, : waveform.shape[-1]] for name, sound in sounds.items() if sound is not None}
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, sound in [*sounds.items()][1:]:  # the recording itself is at hand
        audio.write(options.folder / f"{name.replace(' ', '-')}.wav", sound, rate)
    draw(sounds, rate, options.folder / "spectrograms.png")


def draw(sounds: dict[str, torch.Tensor], rate: int, path: Path) -> None:
    """Draw spectrograms of the first two seconds one below the other, on one scale of levels."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(sounds), 1, figsize=(9, 2 * len(sounds)), sharex=True, layout="constrained")
    for axis, (name, sound) in zip(axes, sounds.items(), strict=True):
        heard = sound[0, : 2 * rate]
        extent = (0, len(heard) / rate, 0, rate / 2000)
        level = spectrogram_db(heard, 512, 128)
        shown = axis.imshow(level, origin="lower", aspect="auto", extent=extent, vmin=-90, vmax=-20, cmap="magma")
        axis.set(ylabel="kHz", title=name)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(shown, ax=axes, label="dB, full scale = 0", shrink=0.6)
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
