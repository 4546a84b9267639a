"""Turns a mel into sound with NumPy, soundfile and onnxruntime alone: no torch, no audiodiff.

    audiodiff export speech-16k speech-16k.onnx
    python demos/examples/onnx_vocode.py speech-16k.onnx mel.npy out.wav --seed 0

The noise is that of `audiodiff vocode` for the same seed, and so is the sound, to 1e-4. A long mel is worked on in
windows that overlap by as much as the model looks around, so that memory stays bounded and no seam is heard.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator

import numpy as np
import onnxruntime
import soundfile

BLOCK = 4096  # samples of noise that are drawn together
FULL = 0.99  # to which louder peaks are lowered, as audiodiff does


def opened(path: str, threads: int, kind: str = "vocoder") -> tuple[onnxruntime.InferenceSession, dict]:
    """Open a model of a kind, and read what it says of itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise ValueError(f"{path}: onnxruntime cannot read it ({str(error).splitlines()[0]})") from None
    told = session.get_modelmeta().custom_metadata_map
    said = (told.get("format"), told.get("part"), told.get("kind", "vocoder"))
    if said != ("audiodiff-onnx-1", "sampler", kind):
        raise ValueError(f"{path}: is no sampler that `audiodiff export` wrote of a {kind}")
    of_kind = {"vocoder": ("reach_frames", "mel"), "generator": ("labels", "n_samples")}[kind]
    read = {key: json.loads(told[key]) for key in ("sample_rate", "hop_length", "min_frames", *of_kind)}
    return session, read | {"licence": told["licence"]}


def read_mel(path: str, told: dict) -> np.ndarray:
    """Read [M, F] or [F, M], or with channels first, and return [C, M, F]."""
    mel, bands = np.load(path, allow_pickle=False), told["mel"]["n_mels"]
    mel = mel[None] if mel.ndim == 2 else mel
    if mel.ndim == 3 and mel.shape[1] != bands:
        mel = mel.swapaxes(1, 2)
    if mel.ndim != 3 or mel.shape[1] != bands or mel.shape[2] < told["min_frames"] or not np.isfinite(mel).all():
        raise ValueError(f"{path}: [{bands} bands, at least {told['min_frames']} frames] of finite numbers are wanted")
    return np.ascontiguousarray(mel, dtype=np.float32)


def noise(seed: int, begin: int, length: int) -> np.ndarray:
    """Draw standard normal noise by seed and position alone, as audiodiff/diffusion/noise.py does."""
    blocks = []
    for n in range(begin // BLOCK, -(-(begin + length) // BLOCK)):
        counter = np.array([0, n, 0, 0], np.uint64)
        bits = np.random.Philox(key=np.array([seed % 2**64, 0], np.uint64), counter=counter)
        blocks.append(np.random.Generator(bits).standard_normal(BLOCK, dtype=np.float32))
    return np.concatenate(blocks)[begin % BLOCK :][:length]


def vocode(session: onnxruntime.InferenceSession, told: dict, mel: np.ndarray, seed: int, at_once: int) -> Iterator:
    """Make the sound of one channel, [M, F], `at_once` frames at a time."""
    hop, frames = told["hop_length"], mel.shape[1]
    past, future = told["reach_frames"] or (frames, frames)
    for first in range(0, frames, at_once):
        last = min(first + at_once, frames)
        begin, end = max(0, first - past), min(frames, last + future)
        begin, end = max(0, min(begin, end - told["min_frames"])), max(end, begin + told["min_frames"])
        drawn = noise(seed, begin * hop, (end - begin) * hop)
        made = session.run(None, {"mel": mel[None, :, begin:end], "noise": drawn[None, None]})[0][0, 0]
        yield made[(first - begin) * hop : (last - begin) * hop]


def write(path: str, waveform: np.ndarray, sample_rate: int) -> None:
    """Write [T, C] as 16-bit WAV, complete or not at all; lowers what is above full scale."""
    peak, temporary = float(np.abs(waveform).max()), f"{path}.{os.getpid()}.wav"
    samples = np.rint(waveform * (min(1.0, FULL / max(peak, FULL)) * 32767)).astype(np.int16)
    try:
        soundfile.write(temporary, samples, sample_rate)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="what `audiodiff export` wrote")
    parser.add_argument("mel", help="a .npy file of log-mels, [bands, frames]")
    parser.add_argument("out", help="the WAV file")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="that are worked on at once")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite OUT if it exists")
    args = parser.parse_args()
    try:
        if os.path.exists(args.out) and not args.force:
            raise ValueError(f"{args.out}: exists; give -f to overwrite, or another name")
        session, told = opened(args.model, args.threads)
        at_once = max(1, round(args.seconds * told["sample_rate"] / told["hop_length"]))
        mel = read_mel(args.mel, told)
        sound = [np.concatenate(list(vocode(session, told, channel, args.seed, at_once))) for channel in mel]
        write(args.out, np.stack(sound, axis=1), told["sample_rate"])
    except (ValueError, OSError, RuntimeError) as error:
        print(f"onnx_vocode: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(sound[0]) / told['sample_rate']:.2f} s; licence {told['licence']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
