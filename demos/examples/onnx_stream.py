"""Turns mel frames from a pipe into sound while they arrive, with NumPy and onnxruntime alone: no torch, no audiodiff.

    audiodiff export speech-24k-live live.onnx --part stream
    my-tts | python demos/examples/onnx_stream.py live.onnx | aplay -r 24000 -f S16_LE

Frames are 32-bit little-endian floats, band after band; samples are 16-bit. The sound is that of `audiodiff vocode
--raw - -` for the same seed, but for phases that rounding decides, and so is the delay. It needs onnx_vocode.py beside
it.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import onnxruntime
from onnx_vocode import noise


class Stream:
    """One stream: `step` takes a frame and gives a hop of sound; all that it remembers is `state`."""

    def __init__(self, path: str, seed: int = 0, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        told = self.session.get_modelmeta().custom_metadata_map
        if told.get("part") != "stream":
            raise ValueError(f"{path}: is no stream that `audiodiff export --part stream` wrote")
        self.hop, self.bands = json.loads(told["hop_length"]), json.loads(told["mel"])["n_mels"]
        self.late = json.loads(told["delay_samples"])  # samples that come before the first of the sound
        self.floor = np.log(max(json.loads(told["mel"])["floor"], 1e-5))
        self.seed, self.frames = seed, 0
        types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        inputs = {value.name: value for value in self.session.get_inputs()}
        self.state = {
            name: np.zeros(inputs[name].shape, types[inputs[name].type]) for name in json.loads(told["state"])
        }

    def step(self, frame: np.ndarray) -> np.ndarray:
        """Take a frame, [bands], and give the samples that have become final, at most a hop."""
        drawn = noise(self.seed, self.frames * self.hop, self.hop)
        feed = {"mel": frame.reshape(1, -1, 1), "noise": drawn.reshape(1, 1, -1)} | self.state
        waveform, *state = self.session.run(None, feed)
        self.state = dict(zip(self.state, state, strict=True))
        self.frames += 1
        padding = min(self.late, self.hop)
        self.late -= padding
        return waveform[0, 0, padding:]

    def finish(self, silence: np.ndarray) -> np.ndarray:
        """Give the samples that remain, by frames of silence."""
        frames, late = self.frames, self.late
        delay = json.loads(self.session.get_modelmeta().custom_metadata_map["delay_samples"])
        rest = [self.step(silence) for _ in range(-(-delay // self.hop))]
        return np.concatenate(rest)[: min(delay - late, frames * self.hop)]


def frames_of(pipe: BinaryIO, bands: int) -> Iterator[np.ndarray]:
    """Yield frames as they arrive."""
    while data := pipe.read(4 * bands):
        frame = np.frombuffer(data[: len(data) // 4 * 4], "<f4")
        if len(data) < 4 * bands or not np.isfinite(frame).all():
            raise ValueError("the stream ended within a frame, or holds what is no number")
        yield frame


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="what `audiodiff export --part stream` wrote")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        stream = Stream(options.model, options.seed, options.threads)
        for frame in frames_of(sys.stdin.buffer, stream.bands):
            play(stream.step(frame))
        play(stream.finish(np.full(stream.bands, stream.floor, np.float32)))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"onnx_stream: {error}", file=sys.stderr)
        return 2
    return 0


def play(waveform: np.ndarray) -> None:
    """Write samples as 16-bit integers."""
    sys.stdout.buffer.write(np.rint(waveform.clip(-1, 1) * 32767).astype("<i2").tobytes())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
