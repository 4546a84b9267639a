"""Says how much of the machine's peak each shipped network reaches while it makes sound.

    python demos/benchmarks/peak.py --threads 2

The peak is the fastest product of two matrices at the same threads. Operations are those of products and convolutions
alone; the time is that of the whole network, its transforms and pointwise work included, but not that of start,
whitening and landing. Vocoders make the shipped recording's first seconds, generators a batch of their own length.
"""

import argparse

import torch

from audiodiff import audio
from audiodiff.evaluation import hardware
from audiodiff.models import registry
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils import devices
from audiodiff.utils.config import shipped_path


def run_of(model: Model, seconds: float, batch: int) -> tuple[str, object]:
    """Return what is made, in words, and what makes it."""
    if not isinstance(model, Vocoder):
        length = model.n_samples / model.sample_rate
        return f"{batch} sounds of {length:.2g} s", lambda: model.generate(batch=batch, seed=0)
    waveform, rate = audio.read(shipped_path("demos/audio/speech.flac"), model.sample_rate)
    frames = round(seconds * rate / model.hop_length)
    mel = model.spectrogram(waveform[None, :, : frames * model.hop_length])[..., :frames]
    return f"{seconds:g} s of speech", lambda: model.generate(mel, steps=1, seed=0)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.84, help="of speech")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 16], help="of generated sounds")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    devices.keep_memory()  # as commands do
    print("| model | makes | in | GFLOP | ms | GFLOP/s | of peak |\n|---|---|---|---|---|---|---|")
    with devices.cpu_threads(args.threads), torch.no_grad():
        for precision in devices.inference_precisions(torch.device("cpu")):
            peak = hardware.peak_gflops(precision)
            for name in registry.shipped():
                model = Model.load(name)
                model.precision = precision
                for batch in [0] if isinstance(model, Vocoder) else args.batch:
                    what, make = run_of(model, args.seconds, batch)
                    make()
                    work = hardware.work_of(model.denoiser.network, make, args.repeats)
                    rate = work.operations / work.seconds / 1e9
                    cells = [f"{work.operations / 1e9:.3g}", f"{1000 * work.seconds:.3g}", f"{rate:.0f}"]
                    print(f"| {name} | {what} | {precision} | {' | '.join(cells)} | {rate / peak:.0%} |", flush=True)
            print(f"| a product | 2048 × 2048 | {precision} | {2 * 2.048**3:.3g} | | {peak:.0f} | 100% |", flush=True)
    told = hardware.describe()
    print(f"\n{told['processor']}, {args.threads} threads, torch {told['torch']}; medians of {args.repeats}")


if __name__ == "__main__":
    main()
