"""Quality table of a vocoder: `audiodiff eval MODEL MANIFEST`.

Every row turns the same mels into waveforms in another way and is compared with the same recordings: baselines without
a network, a ceiling with the true phase, the model from its own start, and from pure noise.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.manifest import Recording
from audiodiff.evaluation.baselines import griffin_lim_nnls, pseudo_inverse_true_phase
from audiodiff.evaluation.metrics import MEASURES, score
from audiodiff.models.named_starts import name_start
from audiodiff.models.starts import GriffinLim, PureNoise
from audiodiff.models.vocoder import Vocoder


class Row(NamedTuple):
    """Hold a named map from mel, [1, M, F], to waveform, [1, 1, T], and its number of network calls.

    The second argument of the map is the recording, [1, 1, T], which only the ceiling uses.
    """

    name: str
    calls: int
    vocode: Callable[[Tensor, Tensor], Tensor]


LONGEST = 30.0  # seconds of each recording
RECORDINGS = Row("the recordings", 0, lambda mel, waveform: waveform)


def rows_of(vocoder: Vocoder, calls: Sequence[int] = (1, 2, 4), precisions: Sequence[str] = ("float32",)) -> list[Row]:
    """List the rows: baselines, the model's own start alone and after each number of calls, and pure noise.

    Rows with calls are listed in each precision, those from pure noise in the first.
    """
    spec = vocoder.mel
    ceiling = Row(
        "pseudo-inverse mel, true phase", 0, lambda mel, waveform: pseudo_inverse_true_phase(spec, mel, waveform)
    )
    own = own_rows(vocoder, calls)
    alone, called = ([row for row in own if bool(row.calls) == wanted] for wanted in (False, True))
    called = [in_precision(vocoder, row, precision) for precision in precisions for row in called]
    if not isinstance(vocoder.start, PureNoise):
        called += [in_precision(vocoder, row, precisions[0]) for row in noise_rows(vocoder, calls[-1:])]
    return [RECORDINGS, ceiling, *floors(vocoder), *alone, *called]


def in_precision(vocoder: Vocoder, row: Row, precision: str) -> Row:
    """Return a row whose network multiplies in a precision, which its name shows unless it is float32."""

    def vocode(mel: Tensor, waveform: Tensor) -> Tensor:
        before, vocoder.precision = vocoder.precision, precision
        try:
            return row.vocode(mel, waveform)
        finally:
            vocoder.precision = before

    return Row(row.name + (f", {precision}" if precision != "float32" else ""), row.calls, vocode)


def floors(vocoder: Vocoder) -> list[Row]:
    """List the baselines without a network."""
    spec = vocoder.mel
    plain = GriffinLim(spec)
    rows = [
        Row(f"Griffin-Lim, NNLS, {n} rounds", 0, lambda mel, _, n=n: griffin_lim_nnls(spec, mel, n)) for n in (32, 100)
    ]
    name = f"Griffin-Lim, magnitudes refitted, {plain.n_iter} rounds"
    return [*rows, Row(name, 0, lambda mel, _: plain.waveform(mel, _noise_like(vocoder, mel)))]


def own_rows(vocoder: Vocoder, calls: Sequence[int]) -> list[Row]:
    """List the model's own start, alone and after each number of calls."""
    if isinstance(vocoder.start, PureNoise):
        return noise_rows(vocoder, calls)
    starts = {name_start(vocoder.start_for(n)): vocoder.start_for(n) for n in calls}
    return [
        *(
            Row(f"{name}, alone", 0, lambda mel, _, s=s: s.waveform(mel, _noise_like(vocoder, mel)))
            for name, s in starts.items()
        ),
        *(Row(name_start(vocoder.start_for(n)), n, lambda mel, _, n=n: vocoder.generate(mel, steps=n)) for n in calls),
    ]


def noise_rows(vocoder: Vocoder, calls: Sequence[int]) -> list[Row]:
    """List pure noise after each number of calls."""
    return [Row("pure noise", n, lambda mel, _, n=n: vocoder.generate(mel, steps=n, start=PureNoise())) for n in calls]


def evaluate(vocoder: Vocoder, rows: Sequence[Row], recordings: Sequence[Recording]) -> dict[str, Any]:
    """Score each row on each recording.

    Returns:
        The rows, with mean and 95 % bootstrap interval of each measure and of × real time; the SHA-256 of the
        recordings' names; threads, and versions of the packages that measure.
    """
    scores: list[list[dict[str, float]]] = [[] for _ in rows]
    for recording in tqdm(recordings, unit="recording", disable=None):
        waveform = _whole_hops(vocoder, recording)
        mel = vocoder.spectrogram(waveform.to(vocoder.device)[None])
        outputs = [_timed(row, mel, waveform[None]) for row in rows]
        for own, row, (out, seconds) in zip(scores, rows, outputs, strict=True):
            speed = float("nan") if row is RECORDINGS else len(out) / vocoder.sample_rate / seconds
            own.append({**score(waveform[0], out, vocoder.sample_rate), "x_real_time": speed})
    return {
        "model": vocoder.fingerprint(),
        "clips": len(recordings),
        "clips_sha256": list_hash(recordings),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "measured_by": {package: metadata.version(package) for package in _packages()},
        "rows": [
            {"name": row.name, "calls": row.calls, **{key: interval([s[key] for s in own]) for key in own[0]}}
            for row, own in zip(rows, scores, strict=True)
        ],
    }


def _timed(row: Row, mel: Tensor, waveform: Tensor) -> tuple[Tensor, float]:
    """Return a row's waveform, [T], and the seconds it took; call it before the measures, whose threads stay awake."""
    with torch.inference_mode():
        row.vocode(mel, waveform)  # warm-up of this length
        began = time.perf_counter()
        out = row.vocode(mel, waveform)[0, 0].cpu()
        return out, time.perf_counter() - began


def list_hash(recordings: Sequence[Recording]) -> str:
    """Return the first 16 digits of the SHA-256 of the recordings' names, one a line."""
    return hashlib.sha256("\n".join(r.path.name for r in recordings).encode()).hexdigest()[:16]


def interval(values: Sequence[float], resamples: int = 1000) -> list[float] | None:
    """Return the mean and the ends of its 95 % bootstrap interval; None where nothing is finite.

    >>> interval([1.0, 1.0, 1.0])
    [1.0, 1.0, 1.0]
    """
    finite = np.array([v for v in values if np.isfinite(v)])
    if not len(finite):
        return None
    means = np.random.default_rng(0).choice(finite, (resamples, len(finite))).mean(1)
    return [round(float(v), 4) for v in (finite.mean(), *np.quantile(means, [0.025, 0.975]))]


def markdown(table: dict[str, Any]) -> str:
    """Format the table as Markdown: mean ± half the interval."""
    measures = [key for key in table["rows"][-1] if key not in ("name", "calls") and table["rows"][-1][key]]
    lines = ["| start | calls | " + " | ".join(measures) + " |", "|---|---|" + "---|" * len(measures)]
    for row in table["rows"]:
        cells = [f"{row[m][0]:.3g} ± {(row[m][2] - row[m][1]) / 2:.2g}" if row[m] else "–" for m in measures]
        lines.append(f"| {row['name']} | {row['calls']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _packages() -> list[str]:
    return sorted({package for _, package in MEASURES.values() if find_spec(package)})


def _whole_hops(vocoder: Vocoder, recording: Recording) -> Tensor:
    waveform, _ = audio.read(recording.path, vocoder.sample_rate, seconds=LONGEST)
    waveform = audio_io.mono(waveform, recording.path)
    return waveform[:, : waveform.shape[-1] // vocoder.hop_length * vocoder.hop_length]


def _noise_like(vocoder: Vocoder, mel: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(mel), 1, mel.shape[-1] * vocoder.hop_length, generator=generator).to(mel)
