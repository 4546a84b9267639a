"""`--part stream`: one frame of a live model as a graph with its state, which a script runs without torch."""

import functools

import numpy as np
import pytest
import torch
from support.live import live_vocoder
from support.processes import without_torch
from support.tree import ROOT, load_script

from audiodiff import export
from audiodiff.cli import main
from audiodiff.diffusion.noise import NoiseField
from audiodiff.export.plans import plan_of
from audiodiff.export.streaming import StreamStep
from audiodiff.mel import MelSpec
from audiodiff.models.stateful import delay_in_samples

SPECS = {
    "HiFi-GAN's frames": MelSpec(8000, n_fft=64, win_length=64, hop_length=16, n_mels=8, f_max=4000.0),
    "centred": MelSpec(8000, n_fft=64, win_length=64, hop_length=16, n_mels=8, f_max=4000.0, center=True),
    "zeros beyond, a window of 50": MelSpec(
        8000, n_fft=64, win_length=50, hop_length=16, n_mels=8, f_max=4000.0, pad_mode="constant", power=2.0
    ),
}
FRAMES = 50
SCRIPT = ROOT / "demos/examples/onnx_stream.py"
vocoder_of = functools.partial(live_vocoder, n_stages=2)


def mel_of(vocoder):
    generator = torch.Generator().manual_seed(1)
    n = FRAMES * vocoder.hop_length
    return vocoder.spectrogram(0.1 * torch.randn(1, 1, n, generator=generator))[..., :FRAMES]


class Replay(torch.nn.Module):
    """The library's own start in the place of its twin."""

    def __init__(self, vocoder):
        super().__init__()
        self.inversion, self.hop = vocoder.start.inversion(), vocoder.hop_length

    def state(self):
        return {}

    def forward(self, mel, noise, step):
        out = self.inversion.push(mel, noise[:, None])[:, 0]
        return torch.nn.functional.pad(out, (self.hop - out.shape[-1], 0)), ()


def walked(vocoder, mel, start=None, seed=4):
    """The sound that the steps make of a mel, without what comes before it."""
    sampling, hop, out = vocoder.sampling(seed=seed), vocoder.hop_length, []
    with torch.no_grad():
        step = StreamStep(vocoder, sampling, plan_of(sampling.solver, vocoder.denoiser.schedule, sampling.times))
        step.start = start or step.start
        noise, state = NoiseField([seed]).draw(torch.empty(1, 1, FRAMES * hop)), list(step.state().values())
        for n in range(FRAMES):
            before = [tuple(z.shape) for z in state]
            waveform, *state = step(mel[..., n : n + 1], noise[..., n * hop : (n + 1) * hop], *state)
            assert [tuple(z.shape) for z in state] == before  # what a graph of fixed shapes needs
            out.append(waveform)
    assert step.delay == delay_in_samples(vocoder, sampling)
    sound = torch.cat(out, -1)
    assert not sound[..., : step.delay].any()
    return sound[..., step.delay :]


@pytest.mark.parametrize("name", SPECS)
def test_steps_with_state_begin_as_the_whole_sound_does(name):
    """A few hops, since after more the start's iterations make other phases of what rounding leaves."""
    vocoder = vocoder_of(SPECS[name], n_iter=2)
    mel = mel_of(vocoder)
    found, wanted, few = walked(vocoder, mel), vocoder.generate(mel, seed=4), 5 * vocoder.hop_length
    assert wanted[..., :few].abs().max() > 0.01
    torch.testing.assert_close(found[..., :few], wanted[..., :few], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", SPECS)
def test_steps_behind_the_start_are_the_whole_sound(name):
    vocoder = vocoder_of(SPECS[name], n_iter=2)
    mel = mel_of(vocoder)
    found, wanted = walked(vocoder, mel, Replay(vocoder)), vocoder.generate(mel, seed=4)
    assert found.shape[-1] > 35 * vocoder.hop_length
    torch.testing.assert_close(found, wanted[..., : found.shape[-1]], atol=1e-4, rtol=0)


@pytest.mark.parametrize("other", [{"causal": False}, {"look_ahead": 0}])
def test_models_that_are_not_live_have_no_step_of_a_stream(other, tmp_path):
    causal = other.pop("causal", True)
    with pytest.raises(ValueError, match=r"live models|look_ahead"):
        export.export(vocoder_of(SPECS["centred"], causal, **other), tmp_path / "out.onnx", part="stream")
    assert not (tmp_path / "out.onnx").exists()


def test_generator_has_no_step_of_a_stream(tmp_path, capsys):
    assert main(["export", "drums", str(tmp_path / "out.onnx"), "--part", "stream"]) == 2
    assert "live vocoders" in capsys.readouterr().err


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tiny live model, whose window the start leaves in peace, and its graph."""
    pytest.importorskip("onnxscript")
    vocoder, path = vocoder_of(SPECS["centred"], n_iter=2), tmp_path_factory.mktemp("stream") / "live.onnx"
    vocoder.config = {"_target_": "audiodiff.models.Vocoder"}
    assert export.export(vocoder, path, part="stream") < 1e-3
    return vocoder, path


def piped(path, data):
    return without_torch(SCRIPT, path, "--seed", 4, input=data, text=False)


def test_script_without_torch_streams_the_sound_of_the_library(exported):
    vocoder, path = exported
    mel = mel_of(vocoder)
    done = piped(path, mel[0].T.contiguous().numpy().astype("<f4").tobytes())
    assert done.returncode == 0, done.stderr
    found = torch.from_numpy(np.frombuffer(done.stdout, "<i2").astype(np.float32) / 32767)
    assert len(found) == FRAMES * vocoder.hop_length
    few = 4 * vocoder.hop_length
    torch.testing.assert_close(found[:few], vocoder.generate(mel, seed=4)[0, 0, :few], atol=2e-3, rtol=0)


def test_script_says_when_the_stream_ends_within_a_frame(exported):
    done = piped(exported[1], b"\0" * 37)
    assert done.returncode == 2
    assert b"ended within a frame" in done.stderr


def test_ten_streams_share_one_session(exported):
    """The state is the caller's: streams side by side sound as each alone."""
    vocoder, path = exported
    script = load_script("demos/examples/onnx_stream.py")
    frames = mel_of(vocoder)[0].T.numpy()[:20]
    alone = [script.Stream(str(path), seed) for seed in range(3)]
    wanted = [np.concatenate([stream.step(frame) for frame in frames]) for stream in alone]
    together = [script.Stream(str(path), seed) for seed in range(3)]
    for stream in together:
        stream.session = together[0].session
    found = [[] for _ in together]
    for frame in frames:
        for stream, pieces in zip(together, found, strict=True):
            pieces.append(stream.step(frame))
    for pieces, sound in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), sound)
