"""Draw sounds beside each other in little memory, by NumPy alone: waveform, spectrogram, mel scale, what differs.

A sound is read piece by piece and reduced to the columns of the picture, so that an hour takes no more memory than a
minute. Levels are dB below a full-scale sine.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiodiff.utils.files import atomic_file

N_FFT, HOP = 1024, 256
COLUMNS = 1000  # of a sound in the picture, at most
AT_ONCE = 2048  # frames that are transformed together
FLOOR = -100.0  # dB
HIGHEST = 8000.0  # Hz, of the mel scale
TICKS = (0, 250, 500, 1000, 2000, 4000, 8000)  # Hz


@dataclasses.dataclass(frozen=True)
class SoundColumns:
    """A sound, reduced to columns.

    Args:
        name: Title.
        sample_rate: Hz.
        n_samples: Of the sound.
        frames: Frames of HOP samples in a column.
        lowest, highest: Extremes of the waveform in each column.
        levels: dB, [N_FFT / 2 + 1, columns].
    """

    name: str
    sample_rate: int
    n_samples: int
    frames: int
    lowest: np.ndarray
    highest: np.ndarray
    levels: np.ndarray

    @property
    def seconds(self) -> float:
        """Length."""
        return self.n_samples / self.sample_rate


def frames_in_a_column(longest: int) -> int:
    """Count the frames of a column, so that so many samples become at most COLUMNS columns.

    >>> frames_in_a_column(16000), frames_in_a_column(600 * 16000)
    (1, 38)
    """
    return max(1, -(-(longest // HOP + 1) // COLUMNS))


def reduce_sound(name: str, pieces: Iterable[np.ndarray], sample_rate: int, frames: int = 1) -> SoundColumns:
    """Reduce a sound, whose pieces, [T], come one after the other, to columns of so many frames.

    A column's level is that of the mean power of its frames; frame k lies around sample k HOP, and beyond the ends is
    silence.
    """
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    powers, extremes, counted = [], [], [0]
    for block in _blocks(_counting(pieces, counted), frames):
        cut = np.lib.stride_tricks.sliding_window_view(block, N_FFT)[::HOP]
        spectrum = np.fft.rfft(cut * window)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        powers.append(_grouped(power, frames).mean(1))
        own = _grouped(cut[:, (N_FFT - HOP) // 2 : (N_FFT + HOP) // 2], frames)
        extremes.append((own.min((1, 2)), own.max((1, 2))))
    levels = 10 * np.log10(np.concatenate(powers).T * (2 / window.sum()) ** 2 + 10 ** (FLOOR / 10 - 2))
    lowest, highest = (np.concatenate(part) for part in zip(*extremes, strict=True))
    return SoundColumns(name, sample_rate, counted[0], frames, lowest, highest, levels)


def _blocks(pieces: Iterable[np.ndarray], frames: int) -> Iterator[np.ndarray]:
    """Cut a sound, with silence around it, into blocks of whole columns, which overlap by all but a hop of a frame."""
    step = max(1, AT_ONCE // frames) * frames * HOP
    buffer = np.zeros(N_FFT // 2, np.float32)
    for piece in pieces:
        buffer = np.concatenate([buffer, piece.astype(np.float32)])
        while len(buffer) >= step + N_FFT - HOP:
            yield buffer[: step + N_FFT - HOP]
            buffer = buffer[step:]
    rest = max(1, (len(buffer) - N_FFT // 2) // HOP + 1)  # as many as begin within the sound, and the one at its end
    wanted = -(-rest // frames) * frames * HOP + N_FFT - HOP
    yield np.concatenate([buffer, np.zeros(max(0, wanted - len(buffer)), np.float32)])[:wanted]


def _counting(pieces: Iterable[np.ndarray], counted: list[int]) -> Iterator[np.ndarray]:
    """Pass pieces on, and add up their samples."""
    for piece in pieces:
        counted[0] += len(piece)
        yield piece


def _grouped(rows: np.ndarray, frames: int) -> np.ndarray:
    return rows.reshape(-1, frames, rows.shape[1])


def draw_sounds(sounds: Sequence[SoundColumns], path: str | Path) -> None:
    """Draw each sound in a column of its own, into a PNG; of two of one rate, also what the second has more or less.

    Args:
        sounds: With as many frames in a column.
        path: The picture.
    """
    from matplotlib.figure import Figure

    pair = len(sounds) == 2 and sounds[0].sample_rate == sounds[1].sample_rate
    figure = Figure(figsize=(4.8 * len(sounds) + 0.9, 7.5 + 2.4 * pair), layout="constrained")
    grid = figure.add_gridspec(3 + pair, len(sounds), height_ratios=[1, 2, 2, *([2] * pair)])
    for n, sound in enumerate(sounds):
        wave, linear, mel = (figure.add_subplot(grid[row, n]) for row in range(3))
        times = np.arange(len(sound.lowest)) * sound.frames * HOP / sound.sample_rate
        wave.fill_between(times, sound.lowest, sound.highest, linewidth=0.4, edgecolor="C0")
        wave.set(title=sound.name, ylim=(-1, 1), ylabel="amplitude")
        shown = _image(linear, sound.levels, sound, sound.sample_rate / 2000, "magma", (FLOOR, 0))
        linear.set(ylabel="frequency, kHz")
        _on_the_mel_scale(mel, sound)
        for axis in (wave, linear, mel):
            axis.set(xlim=(0, sound.seconds), xlabel="time, s")
    figure.colorbar(shown, ax=[axis for axis in figure.axes if axis.images], label="dB of full scale", pad=0.01)
    if pair:
        _draw_difference(figure, grid[3, :], *sounds)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)


def _image(
    axis: Any, levels: np.ndarray, sound: SoundColumns, top: float, colours: str, limits: tuple[float, float]
) -> Any:
    width = sound.frames * HOP / sound.sample_rate
    ends = (-width / 2, (levels.shape[1] - 0.5) * width, 0, top)
    kind = {"origin": "lower", "aspect": "auto", "cmap": colours, "vmin": limits[0], "vmax": limits[1]}
    return axis.imshow(levels, extent=ends, **kind)


def _on_the_mel_scale(axis: Any, sound: SoundColumns, rows: int = 240) -> None:
    """Draw the levels with frequencies up to 8 kHz, or half the rate, in equal steps of mel (O'Shaughnessy)."""
    top = min(HIGHEST, sound.sample_rate / 2)
    mels = 2595 * np.log10(1 + np.array([*TICKS, top]) / 700)
    hertz = 700 * (10 ** (np.linspace(0, mels[-1], rows) / 2595) - 1)
    bins = np.rint(hertz * N_FFT / sound.sample_rate).astype(int)
    _image(axis, sound.levels[bins], sound, mels[-1], "magma", (FLOOR, 0))
    ticks = [(mel, f"{tick:g}") for mel, tick in zip(mels, TICKS, strict=False) if tick <= top]
    axis.set_yticks([mel for mel, _ in ticks], [label for _, label in ticks])
    axis.set_ylabel("frequency, Hz, mel scale")


def _draw_difference(figure: Any, place: Any, first: SoundColumns, second: SoundColumns) -> None:
    axis, common = figure.add_subplot(place), min(first.levels.shape[1], second.levels.shape[1])
    apart = second.levels[:, :common] - first.levels[:, :common]
    shown = _image(axis, apart, first, first.sample_rate / 2000, "coolwarm", (-30, 30))
    seconds = min(first.seconds, second.seconds)
    axis.set(title=f"{second.name} minus {first.name}", xlim=(0, seconds), xlabel="time, s", ylabel="frequency, kHz")
    figure.colorbar(shown, ax=axis, label="dB", pad=0.01)
