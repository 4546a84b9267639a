"""Measure quality and speed of several systems from mel to waveform, in one run: `audiodiff bench`.

    for each repetition:  for each system, in turn:  for each clip:  mel → waveform, timed

Systems take turns within a repetition, and another one begins each time, so that a slower machine slows all of them.
The speed of a repetition is the length of all clips over their time; median and quartiles over repetitions are
reported. The first repetition is an untimed warm-up, whose output is scored.
"""

import statistics
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from audiodiff import audio
from audiodiff.evaluation import hardware
from audiodiff.evaluation.metrics import MEASURES, score
from audiodiff.evaluation.vocoder_table import Row, floors, in_precision, own_rows
from audiodiff.mel import MelSpec
from audiodiff.mel.spectrogram import mel_of
from audiodiff.models.vocoder import Vocoder

QUALITY = ("pesq_wb", "stoi", "dnsmos_p808", "log_mel_l1", "mr_stft")


class Clip(NamedTuple):
    """Hold a recording, [1, T], and its sample rate."""

    waveform: Tensor
    sample_rate: int


class System(NamedTuple):
    """Describe a system that maps a mel, [1, M, F], to a waveform of F hops, of any shape.

    Args:
        name: Name in the table.
        mel: Mel parameters of its input.
        vocode: The timed function.
        calls: Network calls of a sound.
        network: Network whose operations and weights are counted.
        trained: False for random weights, whose sound is not scored.
        package: Its package, as name==version; of a peer, filled in by `peers.build`.
        seconds: Seconds of the first clip by which a slow system is timed, without a score; None for all clips.
        precision: Precision of the network's products.
    """

    name: str
    mel: MelSpec
    vocode: Callable[[Tensor], Tensor]
    calls: int = 0
    network: nn.Module | None = None
    trained: bool = True
    package: str = "audiodiff"
    seconds: float | None = None
    precision: str = "float32"


def systems_of(
    name: str, vocoder: Vocoder, calls: Sequence[int] = (1, 2, 4), precisions: Sequence[str] = ("float32",)
) -> list[System]:
    """List a model's own start alone, and with calls of its network in each precision."""
    rows = own_rows(vocoder, calls)
    alone = [_system(f"{name}, {row.name}", vocoder, row) for row in rows if not row.calls]
    return alone + [
        _system(f"{name}, {row.name}", vocoder, row, precision) for precision in precisions for row in rows if row.calls
    ]


def floors_of(vocoder: Vocoder) -> list[System]:
    """List the baselines without a network, on a model's mel."""
    return [_system(row.name, vocoder, row) for row in floors(vocoder)]


def _system(name: str, vocoder: Vocoder, row: Row, precision: str = "float32") -> System:
    row = in_precision(vocoder, row, precision)
    network = vocoder.denoiser.network if row.calls else None
    return System(name, vocoder.mel, lambda mel: row.vocode(mel, mel), row.calls, network, precision=precision)


def measure(
    systems: Sequence[System],
    clips: Sequence[Clip],
    repeats: int,
    names: Collection[str] = QUALITY,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """Score and time the systems.

    Returns:
        A row for each: name, calls, weights and sample rate, the mean of each installed measure, median and quartiles
        of × real time and of samples/s, and the operations of its network.
    """
    with torch.inference_mode():
        prepared = [[_prepare(system.mel, clip) for clip in _share(system, clips)] for system in systems]
        quality = [_judge(*each, names) for each in tqdm(zip(systems, prepared, strict=True), "warm-up", disable=None)]
        speeds: list[list[float]] = [[] for _ in systems]
        for repeat in tqdm(range(repeats), "repetitions", disable=None):
            for turn in range(len(systems)):
                i = (turn + repeat) % len(systems)
                seconds = _timed(systems[i], [mel for mel, _ in prepared[i]], clock)
                speeds[i].append(_seconds(systems[i], prepared[i]) / seconds)
        works = [_work(system, clip[0][0]) for system, clip in zip(systems, prepared, strict=True)]
    return [_row(*of_one) for of_one in zip(systems, [p[0][0] for p in prepared], quality, speeds, works, strict=True)]


def _share(system: System, clips: Sequence[Clip]) -> Sequence[Clip]:
    if system.seconds is None:
        return clips
    return [Clip(clip.waveform[:, : int(system.seconds * clip.sample_rate)], clip.sample_rate) for clip in clips[:1]]


def _prepare(spec: MelSpec, clip: Clip) -> tuple[Tensor, Tensor]:
    """Return the mel, [1, M, F], and the recording, [F hop]; a centred mel's last frame lies beyond it."""
    waveform = audio.resample(clip.waveform, clip.sample_rate, spec.sample_rate)
    waveform = waveform[:, : waveform.shape[-1] // spec.hop_length * spec.hop_length]
    return mel_of(spec, waveform), waveform[0]


def _judge(system: System, clips: Sequence[tuple[Tensor, Tensor]], names: Collection[str]) -> dict[str, float]:
    scores = []
    for mel, waveform in clips:
        sound = system.vocode(mel).flatten().float()
        if system.trained and system.seconds is None:
            scores.append(score(waveform, sound, system.mel.sample_rate, names))
    values = {name: [s[name] for s in scores if s[name] == s[name]] for name in (scores[0] if scores else ())}
    return {name: round(statistics.mean(own), 4) for name, own in values.items() if own}


def _timed(system: System, mels: Sequence[Tensor], clock: Callable[[], float]) -> float:
    began = clock()
    for mel in mels:
        system.vocode(mel)
    return clock() - began


def _seconds(system: System, clips: Sequence[tuple[Tensor, Tensor]]) -> float:
    return sum(len(waveform) for _, waveform in clips) / system.mel.sample_rate


def _work(system: System, mel: Tensor) -> hardware.Work | None:
    if system.network is None:
        return None
    return hardware.work_of(system.network, lambda: system.vocode(mel), repeats=3 if system.seconds is None else 1)


def _row(
    system: System, mel: Tensor, quality: dict[str, float], speeds: list[float], work: hardware.Work | None
) -> dict[str, Any]:
    rate, hop = system.mel.sample_rate, system.mel.hop_length
    seconds = mel.shape[-1] * hop / rate
    speed = hardware.spread(speeds)
    return {
        "name": system.name,
        "package": system.package,
        "calls": system.calls,
        "precision": system.precision,
        "weights": sum(p.numel() for p in system.network.parameters()) if system.network else None,
        "trained": system.trained,
        "on_seconds": system.seconds,
        "sample_rate": rate,
        "quality": quality,
        "x_real_time": [round(v, 4) for v in speed],
        "samples_per_second": [round(v * rate) for v in speed],
        "work": work
        and {
            "gflop_per_second_of_audio": round(work.operations / 1e9 / seconds, 3),
            "gflops": round(work.operations / work.seconds / 1e9, 2),
        },
    }


def missing_measures(names: Collection[str] = QUALITY) -> list[str]:
    """List the measures whose package is not installed."""
    from importlib.util import find_spec

    return [name for name in names if not find_spec(MEASURES[name][1])]
