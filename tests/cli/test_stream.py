"""`audiodiff vocode --raw - -`: frames in, samples out, nothing lost."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from audiodiff.cli import loading, main
from audiodiff.cli.stream import Frames
from audiodiff.models import registry
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import analyse, vocode, vocode_stream


class Slow(io.RawIOBase):
    """Gives few bytes at a time, as a pipe may."""

    def __init__(self, data, size):
        self.data, self.size = io.BytesIO(data), size

    def read1(self, _=-1):
        return self.data.read(self.size)


@pytest.fixture(scope="module")
def vocoder(tiny_model_path):
    return Vocoder.load(tiny_model_path)


@pytest.fixture(scope="module")
def mel(vocoder, waveform):
    return analyse(vocoder, waveform)


def raw(mel):
    return mel[0].T.contiguous().numpy().astype("<f4").tobytes()


@pytest.fixture
def piped(tiny_model_path, monkeypatch, capsys):
    def run(data, *options, size=1000):
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Slow(data, size)))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", SimpleNamespace(buffer=out, flush=lambda: None))
            status = main(["vocode", "--raw", "-", "-", "--model", str(tiny_model_path), *options])
        return status, np.frombuffer(out.getvalue(), "<i2").astype(int), capsys.readouterr().err

    return run


@pytest.mark.parametrize("size", [7, 320, 10_000])
def test_pipe_gives_the_samples_of_the_whole(piped, vocoder, mel, size):
    status, samples, said = piped(raw(mel), "--steps", "2", "--seed", "3", size=size)
    wanted = np.rint(vocode(vocoder, mel, steps=2, seed=3).waveform[0].clamp(-1, 1).numpy() * 32767).astype(int)
    assert status == 0
    assert len(samples) == len(wanted)
    assert abs(samples - wanted).max() <= 1  # of 32767
    assert "look-ahead" in said


def test_pipe_tells_of_a_stream_that_stops_within_a_frame_and_loses_nothing(piped, mel):
    whole = piped(raw(mel))[1]
    status, samples, said = piped(raw(mel) + b"12345")
    assert status == 2
    assert np.array_equal(samples, whole)
    assert "5 bytes into a frame of 320 (80 floats of 32 bits)" in said


def test_pipe_keeps_what_was_good_before_a_nan(piped, mel):
    broken = mel.clone()
    broken[..., 80:] = float("nan")
    status, samples, said = piped(raw(broken), "--start", "noise", "--steps", "1", "--chunk-seconds", "0.05")
    whole = piped(raw(mel), "--start", "noise", "--steps", "1")[1]
    assert status == 2
    assert 0 < len(samples) < len(whole)
    assert abs(samples - whole[: len(samples)]).max() <= 1
    assert "NaN" in said


def test_pipe_warns_of_a_mel_of_another_width(piped, mel, vocoder):
    reader = Frames(Slow(raw(mel)[: 320 * 10], 64), 100)
    assert sum(piece.shape[-1] for piece in reader) == 8
    assert piped(b"")[0] == 2


@pytest.mark.parametrize("header", [b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"RIFF"])
def test_pipe_knows_a_file_by_its_header(piped, mel, header):
    status, samples, said = piped(header + raw(mel))
    assert (status, len(samples)) == (2, 0)
    assert "is a file with a header" in said


@pytest.mark.parametrize(
    "arguments",
    [["-", "out.wav"], ["--raw", "-", "out.wav"], ["--raw", "mel.npy", "-"], ["-", "-"]],
)
def test_pipe_wants_both_ends_and_the_flag(arguments, capsys, tiny_model_path):
    assert main(["vocode", *arguments, "--model", str(tiny_model_path)]) == 2
    assert "audiodiff vocode --raw - -" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--json"], ["--mel-preset", "hifigan"]])
def test_pipe_has_no_report_and_no_other_convention(piped, mel, option):
    status, samples, said = piped(raw(mel), *option)
    assert (status, len(samples)) == (2, 0)
    assert "leave out" in said


def test_pipe_refuses_chunks_of_no_length(piped, mel):
    assert piped(raw(mel), "--chunk-seconds", "0")[0] == 2


def test_pipe_is_live_unless_told_how_to_sample(piped, vocoder, mel):
    status, samples, said = piped(raw(mel), "--seed", "3")
    live = np.concatenate([piece[0].numpy() for piece in vocode_stream(vocoder, [mel], live=True, seed=3)], -1)
    assert status == 0
    assert abs(samples - np.rint(live[: len(samples)].clip(-1, 1) * 32767)).max() <= 1  # of 32767
    assert "live: the sound comes 72 ms after the mel" in said
    assert "look-ahead" in piped(raw(mel), "--no-live")[2]


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ([], registry.LIVE_MODEL),
        (["--live"], registry.LIVE_MODEL),
        (["--no-live"], None),
        (["--steps", "2"], None),
        (["--live", "--model", "speech-22k"], "speech-22k"),
    ],
)
def test_pipe_takes_the_model_for_streams_by_default(monkeypatch, options, model):
    class Loaded(Exception):
        pass

    def load(options):
        raise Loaded(options.model)

    monkeypatch.setattr(loading, "load_vocoder", load)
    with pytest.raises(Loaded) as asked:
        main(["vocode", "--raw", "-", "-", *options])
    assert asked.value.args == (model,)


def test_pipe_refuses_a_sampler_beside_live(piped, mel):
    status, samples, said = piped(raw(mel), "--live", "--steps", "2")
    assert (status, len(samples)) == (2, 0)
    assert "leave out --steps" in said
