"""Fixtures that several test files share: a model small enough for a core, and something that sounds like speech.

The default tier is shared out among processes, a file to each (`-n 0` runs all in one). Each has one thread: on tensors
this small a second one only waits, and two processes with two threads on two cores take five times as long.
"""

import copy
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in what tests start

import hypothesis
import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional

from audiodiff import audio
from audiodiff.evaluation import metrics
from audiodiff.utils.config import build

# A busy machine must not fail a property by its slowness; 50 examples are enough for functions this smooth.
hypothesis.settings.register_profile("audiodiff", deadline=None, max_examples=50)
hypothesis.settings.load_profile("audiodiff")

MEL = {"_target_": "audiodiff.mel.MelSpec", "sample_rate": 16000, "n_fft": 1024, "hop_length": 256, "n_mels": 80}

TINY = {
    "_target_": "audiodiff.models.Vocoder",
    "mel": MEL,
    "steps": 2,
    "projection_iters": 1,
    "denoiser": {
        "_target_": "audiodiff.diffusion.Denoiser",
        "schedule": {"_target_": "audiodiff.diffusion.schedules.CosineVP"},
        "prediction": {"_target_": "audiodiff.diffusion.VPrediction"},
        "network": {
            "_target_": "audiodiff.nn.HybridNetwork",
            "hop_length": 128,
            "n_fft": 512,
            "width": 16,
            "dilations": [1],
            "n_stages": 1,
            "n_heads": 2,
            "attention_window": 4,
            "embedding": 16,
            "n_mels": 80,
            "mel_hop_length": 256,
        },
    },
    "whitening": {"_target_": "audiodiff.models.MelWhitening", "mel": MEL, "exponent": 0.5, "block": 128},
}


def voiced(seconds=1.5, sample_rate=16000, pitch=120.0, seed=0):
    """Makes [1, T]: pulses through three formants, louder and softer at a syllable's rate, with a breath of noise."""
    generator = torch.Generator().manual_seed(seed)
    n = int(seconds * sample_rate)
    time = torch.arange(n, dtype=torch.float64) / sample_rate
    phase = pitch * time + 2 * torch.sin(2 * torch.pi * 1.5 * time)
    pulses = (phase.floor().diff(prepend=phase[:1]) > 0).double()
    source = pulses + 0.02 * torch.randn(n, generator=generator).double()
    decay = torch.arange(sample_rate // 20, dtype=torch.float64) / sample_rate
    formants = sum(
        gain * torch.exp(-torch.pi * width * decay) * torch.sin(2 * torch.pi * frequency * decay)
        for frequency, width, gain in ((600, 80, 1.0), (1400, 120, 0.5), (2600, 200, 0.3))
    )
    sound = functional.conv1d(source[None, None], formants.flip(0)[None, None], padding=len(formants) - 1)[0, :, :n]
    sound = sound * (0.55 - 0.45 * torch.cos(2 * torch.pi * 3 * time))
    return (0.3 * sound / sound.abs().max()).float()


def tiny_vocoder(seed=0):
    """Builds the tiny vocoder with random weights, its last layer included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(copy.deepcopy(TINY))
        torch.nn.init.normal_(model.denoiser.network.outward.weight, std=0.05)
    model.config = copy.deepcopy(TINY)
    model.info = {
        "licence": "CC0-1.0",
        "data": "none; random weights for tests",
        "hours": 0.0,
        "steps": 0,
        "level": {"rms": 0.05, "peak": 0.3},
    }
    return model.eval()


def pytest_addoption(parser):
    parser.addoption("--fuzz", type=int, metavar="N", help="cases of each damaged file (default: the same 1000)")
    parser.addoption("--kills", type=int, default=10, metavar="N", help="kills of each kind of work (default: 10)")


def pytest_xdist_auto_num_workers(config):
    """As many processes as cores, up to four, for the whole default tier; one for what is chosen by hand."""
    chosen = config.args_source != pytest.Config.ArgsSource.TESTPATHS
    other_tier = config.option.markexpr not in config.getini("addopts")
    if chosen or other_tier or config.option.keyword:
        return 0
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.fixture
def quick_measures(monkeypatch):
    """Leaves out the two measures that take seconds for a clip; tests of the measures themselves have them."""
    for name in ("dnsmos_p808", "wer"):
        monkeypatch.delitem(metrics.MEASURES, name)


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory):
    """A saved tiny model (averaged weights only): PATH.safetensors with PATH.json beside it."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_vocoder().save(path)
    return path


@pytest.fixture(scope="session")
def waveform():
    """Something voiced, [1, 24000] at 16 kHz, peak 0.3."""
    return voiced()


@pytest.fixture(scope="session")
def speech(tmp_path_factory, waveform):
    """The same as a 16-bit WAV."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    audio.write(path, waveform, 16000)
    return path


@pytest.fixture(scope="session")
def app():
    """The page's layout, as `audiodiff demo` serves it."""
    pytest.importorskip("gradio")
    from audiodiff.web import layout

    return layout


@pytest.fixture(scope="session")
def bad(tmp_path_factory):
    """A folder of files that cannot be resynthesised."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.wav").write_text("no sound at all " * 20)
    (folder / "<i>text.wav").write_text("no sound at all " * 20)
    (folder / "empty.wav").touch()
    soundfile.write(folder / "eight.wav", np.zeros((16000, 8), np.float32), 16000)
    soundfile.write(folder / "short.wav", np.zeros(100, np.float32), 16000)
    soundfile.write(folder / "long.wav", np.zeros(301 * 8000, np.int16), 8000)
    return folder
