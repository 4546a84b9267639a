"""Makes new sounds with NumPy, soundfile and onnxruntime alone: no torch, no audiodiff.

    audiodiff export drums drums.onnx
    python demos/examples/onnx_generate.py drums.onnx snare.wav --label snare --seed 0

The noise is that of `audiodiff generate` for the same seed, and so is the sound, to 1e-4. It needs onnx_vocode.py
beside it. A sound is made at once: a network that knows where a sound begins cannot make it in windows.
"""

import argparse
import os
import sys

import numpy as np
import onnxruntime
from onnx_vocode import noise, opened, write

FADE = 0.01  # seconds


def number_of(label: str | None, told: dict) -> int:
    """Return the number of a class; -1 leaves it open."""
    if label is not None and label not in told["labels"]:
        known = f"choose one of {', '.join(told['labels'])}" if told["labels"] else "the model knows none"
        raise ValueError(f"unknown label {label!r}: {known}")
    return -1 if label is None else told["labels"].index(label)


def generate(session: onnxruntime.InferenceSession, told: dict, n_samples: int, label: int, seed: int) -> np.ndarray:
    """Make one sound, [T]; the network runs on the next multiple of its hop."""
    hop = told["hop_length"]
    frames = -(-n_samples // hop)
    if frames < told["min_frames"]:
        raise ValueError(f"{n_samples} samples: the graph takes more than {(told['min_frames'] - 1) * hop}")
    given = {"noise": noise(seed, 0, frames * hop)[None, None], "label": np.array([label])}
    wanted = {value.name for value in session.get_inputs()}
    sound = session.run(None, {name: given[name] for name in wanted})[0][0, 0, :n_samples]
    if n_samples < told["n_samples"]:  # cut before it ends: faded out, as by `audiodiff generate`
        length = min(n_samples, max(1, round(FADE * told["sample_rate"])))
        sound[-length:] *= np.linspace(1, 0, length + 1, dtype=np.float32)[1:]
    return sound


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="what `audiodiff export` wrote of a generator")
    parser.add_argument("out", help="the WAV file")
    parser.add_argument("--label", help="class (default: none, the model chooses)")
    parser.add_argument("--seconds", type=float, help="length (default: that of the training clips)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-f", "--force", action="store_true", help="overwrite OUT if it exists")
    args = parser.parse_args()
    try:
        if os.path.exists(args.out) and not args.force:
            raise ValueError(f"{args.out}: exists; give -f to overwrite, or another name")
        session, told = opened(args.model, args.threads, "generator")
        n_samples = told["n_samples"] if args.seconds is None else round(args.seconds * told["sample_rate"])
        sound = generate(session, told, n_samples, number_of(args.label, told), args.seed)
        write(args.out, sound[:, None], told["sample_rate"])
    except (ValueError, OSError, RuntimeError) as error:
        print(f"onnx_generate: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(sound) / told['sample_rate']:.2f} s; licence {told['licence']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
