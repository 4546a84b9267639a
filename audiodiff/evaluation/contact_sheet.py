"""The contact sheet of sounds: waveforms over spectrograms, in rows.

Pillow draws it in a tenth of the time that Matplotlib needs to be imported, which was half of that of `generate`.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from audiodiff.evaluation.plots import FLOOR_DB, magma, spectrogram_db
from audiodiff.utils.files import atomic_file

WIDTH, PITCH = 166, 180  # pixels, of a picture and from one to the next
WAVE, GAP, SPECTRUM, ROW = 62, 6, 124, 240  # heights; of a row with its labels
LEFT, RIGHT, TOP = 60, 90, 30  # margins
LOWEST = 40.0  # Hz
BLUE, BLACK = (31, 119, 180), (0, 0, 0)


def contact_sheet(sounds: Mapping[str, Tensor], sample_rate: int, path: str | Path, columns: int = 8) -> None:
    """Draw sounds, [T] each, as waveforms over spectrograms in rows of pictures, into a PNG.

    Time is in seconds, one scale for all; frequency is logarithmic, in hertz; the scale of levels is on the right.
    """
    columns = min(columns, len(sounds))
    rows = -(-len(sounds) // columns)
    sheet = Image.new("RGB", (LEFT + PITCH * columns + RIGHT, TOP + ROW * rows), "white")
    longest = max(len(sound) for sound in sounds.values()) / sample_rate
    for i, (name, sound) in enumerate(sounds.items()):
        corner = (LEFT + PITCH * (i % columns), TOP + ROW * (i // columns))
        _draw_sound(sheet, corner, name, sound, sample_rate, longest, first=i % columns == 0)
        if i >= len(sounds) - columns:
            _write(sheet, (corner[0] + WIDTH // 2, corner[1] + WAVE + GAP + SPECTRUM + 26), "s", "mm")
    _draw_scale(sheet)
    with atomic_file(path) as file:
        sheet.save(file, format="png")


def _draw_sound(
    sheet: Image.Image, corner: tuple[int, int], name: str, sound: Tensor, rate: int, longest: float, first: bool
) -> None:
    x, top = corner
    below = top + WAVE + GAP
    shown = max(1, round(WIDTH * len(sound) / rate / longest))
    sheet.paste(Image.fromarray(waveform_image(sound, shown)), (x, top))
    sheet.paste(BLACK, (x, below, x + WIDTH, below + SPECTRUM))
    sheet.paste(Image.fromarray(magma(log_frequency(sound, rate, shown) / -FLOOR_DB + 1)), (x, below))
    draw = ImageDraw.Draw(sheet)
    for y, height in ((top, WAVE), (below, SPECTRUM)):
        draw.rectangle((x - 1, y - 1, x + WIDTH, y + height), outline=BLACK)
    _write(sheet, (x + WIDTH // 2, top - 12), name, "mm", 12)
    for second in ticks(longest):
        across = x + round(WIDTH * second / longest)
        draw.line((across, below + SPECTRUM, across, below + SPECTRUM + 3), BLACK)
        _write(sheet, (across, below + SPECTRUM + 11), f"{second:g}", "mm")
    for y, text in [(top, "1"), (top + WAVE // 2, "0"), (top + WAVE, "-1")] + [
        (below + row_of(f, rate), f"{f // 1000}k" if f >= 1000 else str(f)) for f in hertz_marks(rate)
    ]:
        draw.line((x - 4, y, x - 1, y), BLACK)
        if first:
            _write(sheet, (x - 6, y), text, "rm")
    if first:
        _write(sheet, (x - 32, below + SPECTRUM // 2), "Hz", "rm")


def waveform_image(sound: Tensor, width: int) -> np.ndarray:
    """Draw what a waveform, [T], reaches in each column of pixels: uint8, [WAVE, width, 3]."""
    edges = np.linspace(0, len(sound), width, endpoint=False).astype(int)
    low, high = (reach.reduceat(sound.numpy(), edges) for reach in (np.minimum, np.maximum))
    top, bottom = ((1 - np.clip(reach, -1, 1)) / 2 * (WAVE - 1) for reach in (high, low))
    rows = np.arange(WAVE)[:, None]
    inside = (rows >= np.rint(top)) & (rows <= np.rint(bottom))
    return np.where(inside[..., None], np.uint8(BLUE), np.uint8(255))


def log_frequency(sound: Tensor, sample_rate: int, width: int) -> np.ndarray:
    """Compute levels of a sound, [T], in dB, [SPECTRUM, width]: octaves from LOWEST Hz, below, to half the rate."""
    levels = spectrogram_db(sound, n_fft=2048)
    octaves = math.log2(sample_rate / 2 / LOWEST)
    hertz = LOWEST * 2 ** (np.arange(SPECTRUM) / SPECTRUM * octaves)
    first = np.rint(hertz / (sample_rate / 2) * (len(levels) - 1)).astype(int)
    rows = np.maximum.reduceat(levels, first)  # the loudest bin of those that share a row, or no tone above would stay
    return rows[::-1, np.linspace(0, rows.shape[1] - 1, width).round().astype(int)]


def row_of(hertz: float, sample_rate: int) -> int:
    """Return the row of a frequency, counted from the top of the spectrogram."""
    return round(SPECTRUM * (1 - math.log2(hertz / LOWEST) / math.log2(sample_rate / 2 / LOWEST)))


def hertz_marks(sample_rate: int) -> list[int]:
    """List the round frequencies that are written beside a spectrogram."""
    marks = [f * decade for decade in (10, 100, 1000, 10000) for f in (1, 2, 5)]
    return [f for f in marks if LOWEST < f < sample_rate / 2]


def ticks(longest: float) -> list[float]:
    """List round times, three to six, of which the last would not meet the next picture's first."""
    decade = 10.0 ** math.floor(math.log10(longest))
    step = next(decade * share for share in (0.2, 0.25, 0.5, 1, 2) if longest <= 5 * decade * share)
    return [step * k for k in range(math.ceil(0.9 * longest / step))]


def _draw_scale(sheet: Image.Image) -> None:
    x, height = sheet.width - 75, sheet.height - 70
    sheet.paste(Image.fromarray(np.repeat(magma(np.linspace(1, 0, height))[:, None], 10, axis=1)), (x, TOP))
    ImageDraw.Draw(sheet).rectangle((x - 1, TOP - 1, x + 10, TOP + height), outline=BLACK)
    for level in range(0, FLOOR_DB - 1, -20):
        _write(sheet, (x + 15, TOP + round(height * level / FLOOR_DB)), str(level), "lm")
    _write(sheet, (x + 42, TOP + height // 2), "dB", "lm")


def _write(sheet: Image.Image, place: tuple[int, int], text: str, anchor: str, size: int = 10) -> None:
    ImageDraw.Draw(sheet).text(place, text, BLACK, ImageFont.load_default(size), anchor)
