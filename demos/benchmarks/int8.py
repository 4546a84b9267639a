"""Says what onnxruntime's dynamic quantisation to int8 does to an exported vocoder: speed, size and quality.

    audiodiff export speech-16k speech-16k.onnx
    OMP_NUM_THREADS=1 python demos/benchmarks/int8.py speech-16k.onnx data/debian_speech/valid.jsonl --clips 6

Quantised are the products with weights of the network, by channel; what the transforms multiply by stays as it is, for
it is what the mel is measured by. Both graphs make every recording in turns, and the least processor time counts.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

from audiodiff import audio
from audiodiff.data import read_manifest
from audiodiff.diffusion.noise import NoiseField
from audiodiff.evaluation.metrics import score
from audiodiff.export.comparison import session_of
from audiodiff.mel import LogMel, MelSpec

MEASURES = ("pesq_wb", "stoi", "log_mel_l1")


def quantised(path: Path) -> Path:
    """Write PATH's network in int8, as NAME-int8.onnx beside it, and return where."""
    out = path.with_name(f"{path.stem}-int8.onnx")
    graph = onnx.load(path).graph  # rounds are loops, whose products lie in graphs of their own
    learned = {t.name for t in graph.initializer if not any(word in t.name for word in ("matrix", "lifted"))}
    chosen = [n.name for n in graph.node if n.op_type in ("MatMul", "Gemm") and learned & set(n.input)]
    quantize_dynamic(path, out, nodes_to_quantize=chosen, per_channel=True, weight_type=QuantType.QInt8)
    print(f"{len(chosen)} products quantised; {path.stat().st_size / 1e6:.1f} MB, {out.stat().st_size / 1e6:.1f} MB")
    return out


def made(session: object, mel: Tensor, hop_length: int) -> tuple[Tensor, float]:
    """Make a sound, [T], and return the processor's seconds."""
    noise = NoiseField([0]).draw(torch.empty(1, 1, mel.shape[-1] * hop_length))
    began = time.process_time()
    waveform = session.run(None, {"mel": mel.numpy(), "noise": noise.numpy()})[0]
    return torch.from_numpy(np.ascontiguousarray(waveform[0, 0])), time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="what `audiodiff export` wrote of a vocoder")
    parser.add_argument("manifest", help="recordings, JSON lines")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    paths = {"float32": args.model, "int8": quantised(args.model)}
    sessions = {name: session_of(path) for name, path in paths.items()}
    spec = MelSpec(16000)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in sessions}
    recordings = [r for r in read_manifest(args.manifest) if r.n_samples >= 2 * spec.sample_rate]
    for recording in recordings[:: len(recordings) // args.clips][: args.clips]:
        sound = audio.read(recording.path, spec.sample_rate)[0].mean(0)
        mel = LogMel(spec)(sound[None, None])[..., : len(sound) // spec.hop_length].contiguous()
        taken: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(args.rounds):
            for name, session in sessions.items():
                waveform, seconds = made(session, mel, spec.hop_length)
                taken[name].append(seconds)
        for name, session in sessions.items():
            waveform, _ = made(session, mel, spec.hop_length)
            found = score(sound[: len(waveform)], waveform, spec.sample_rate, MEASURES)
            rows[name].append(found | {"ms a second": 1000 * min(taken[name]) * spec.sample_rate / len(waveform)})
    print("| graph | " + " | ".join(rows["int8"][0]) + " |\n" + "|---" * (1 + len(rows["int8"][0])) + "|")
    for name, found in rows.items():
        means = [statistics.fmean(row[key] for row in found) for key in found[0]]
        print(f"| {name} | " + " | ".join(f"{mean:.4g}" for mean in means) + " |")


if __name__ == "__main__":
    main()
