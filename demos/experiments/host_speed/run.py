"""Compare the real-time factor of an exported vocoder with HiFi-GAN V2's and Vocos', as sherpa-onnx would run them.

    audiodiff export speech-22k own.onnx --host sherpa-onnx
    audiodiff export speech-22k light.onnx --host sherpa-onnx --start coarse-to-fine=4/16/48/96
    python demos/experiments/host_speed/run.py own.onnx light.onnx

The two others have random weights, in the sizes that sherpa-onnx offers for 22.05 kHz (speed does not depend on
weights). Vocos' graph ends with its spectrum; its inverse transform, which the host makes, is not counted. Contestants
take turns on one mel, so a busy machine slows all of them alike; one thread is timed by its processor time. Writes
`results.csv`: medians and quartiles. With --operators the first file's time is told by operator instead. Needs the
extras `export` and `hosts`.
"""

import argparse
import collections
import contextlib
import csv
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

V2 = {
    "model_in_dim": 80,
    "sampling_rate": 22050,
    "upsample_initial_channel": 128,
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "normalize_before": False,
}


@contextlib.contextmanager
def replaced(modules: dict[str, ModuleType | None]) -> Iterator[None]:
    """Put stand-ins where libraries would be looked up that are asked for by name alone; None hides one."""
    missing = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


class BandsFirst(nn.Module):
    """HiFi-GAN V2 as of transformers, for mels [1, M, F]."""

    def __init__(self) -> None:
        super().__init__()
        with replaced({"torchaudio": None}):  # that of a machine without CUDA may not load
            from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

        self.model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**V2))

    def forward(self, mel: Tensor) -> Tensor:
        return self.model(mel.transpose(1, 2))


class VocosSpectrum(nn.Module):
    """Vocos in its published size, up to the magnitudes, cosines and sines that a host inverts."""

    def __init__(self) -> None:
        super().__init__()
        names = ("torchaudio", "torchaudio.functional", "torchaudio.functional.functional", "encodec")
        stubs = {name: ModuleType(name) for name in names}
        for stub in stubs.values():  # only its feature extractors use these
            stub.transforms, stub.EncodecModel = SimpleNamespace(), None
            stub._hz_to_mel = stub._mel_to_hz = None
        with replaced(stubs):
            from vocos.models import VocosBackbone

        self.backbone = VocosBackbone(input_channels=80, dim=512, intermediate_dim=1536, num_layers=8)
        self.out = nn.Linear(512, 1026)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_magnitude, phase = self.out(self.backbone(mel)).transpose(1, 2).chunk(2, dim=1)
        return log_magnitude.exp().clip(max=100.0), phase.cos(), phase.sin()


def exported(module: nn.Module, path: Path) -> Path:
    """Write a module that takes a mel of any length."""
    frames = ({2: torch.export.Dim("frames", min=8)},)
    how = {"input_names": ["mel"], "dynamo": True, "dynamic_shapes": frames, "opset_version": 18, "verbose": False}
    torch.onnx.export(module.eval(), (torch.randn(1, 80, 50),), path, external_data=False, **how)
    return path


def session_of(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open a file as sherpa-onnx does: both pools have so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def turns(
    sessions: dict[str, onnxruntime.InferenceSession], mel: np.ndarray, rounds: int, threads: int
) -> dict[str, list[float]]:
    """Time each contestant once a round, after one round that does not count; one thread by its processor time."""
    clock = time.process_time if threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for round_number in range(rounds + 1):
        for name, session in sessions.items():
            begin = clock()
            session.run(None, {"mel": mel})
            if round_number:
                seconds[name].append(clock() - begin)
    return seconds


def operators(path: Path, mel: np.ndarray) -> str:
    """Tabulate the operators that take longest in one run on one thread, by onnxruntime's profiler."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "run")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {"mel": mel})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    micros: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for event in events:
        name = event.get("args", {}).get("op_name", "Loop")
        if name != "Loop" and event["name"].endswith("_kernel_time"):  # a loop's time is that of its operators
            micros[name] += event["dur"]
            calls[name] += 1
    rows = [f"| {name} | {time / micros.total():.0%} | {calls[name]} |" for name, time in micros.most_common(8)]
    return "\n".join(["| operator | share of time | calls |", "|---|---|---|", *rows, f"| all | | {calls.total()} |"])


def name_of(told: dict[str, str]) -> str:
    """Name an exported vocoder by its model and the iterations of its start."""
    start = json.loads(told["start"])
    counts = "/".join(str(start[part]) for part in ("full", "half", "quarter", "eighth") if part in start)
    return f"audiodiff, {told['model']}, start {counts or start['name']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "vocoders", type=Path, nargs="+", help="what `audiodiff export MODEL OUT.onnx --host sherpa-onnx` wrote"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0, help="of sound (default: 5)")
    parser.add_argument("--operators", action="store_true", help="where the first file's time goes, and nothing else")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("results.csv"), metavar="CSV")
    options = parser.parse_args()
    own = {session_of(path, 1).get_modelmeta(): path for path in options.vocoders}
    told = next(iter(own)).custom_metadata_map
    rate = json.loads(told["sample_rate"]) / json.loads(told["hop_length"])
    frames = round(options.seconds * rate)
    mel = np.random.default_rng(0).normal(-5, 2, (1, 80, frames)).astype(np.float32)
    if options.operators:
        print(operators(options.vocoders[0], mel))
        return
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        paths = {
            **{name_of(meta.custom_metadata_map): path for meta, path in own.items()},
            "HiFi-GAN V2": exported(BandsFirst(), Path(folder) / "hifigan.onnx"),
            "Vocos": exported(VocosSpectrum(), Path(folder) / "vocos.onnx"),
        }
        cells: dict[str, list[str]] = {name: [f"{path.stat().st_size / 1e6:.1f}"] for name, path in paths.items()}
        for threads in options.threads:
            sessions = {name: session_of(path, threads) for name, path in paths.items()}
            for name, seconds in turns(sessions, mel, options.rounds, threads).items():
                quarter, half, rest = (q * rate / frames for q in statistics.quantiles(seconds, n=4))
                cells[name].append(f"{half:.3f} ({quarter:.3f}–{rest:.3f})")
    head = ["vocoder", "MB", *(f"real-time factor, {n} thread{'s' * (n > 1)}" for n in options.threads)]
    with options.table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *([name, *texts] for name, texts in cells.items())])
    print(options.table.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
