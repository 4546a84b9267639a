"""Every documented shape is checked at the public door, and channels are mixed down in one way everywhere."""

import logging
import math

import numpy as np
import pytest
import soundfile
import torch

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data import Crops, Files, OneShots, scan
from audiodiff.data.manifest import Recording
from audiodiff.evaluation import metrics
from audiodiff.griffin_lim.mel_conversion import convert_mel
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.spectrogram import mel_of
from audiodiff.mel.statistics import MelStatistics
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import resynthesise, vocode

SPEC = MelSpec(16000)
STRANGE = [torch.randn(shape) for shape in ((2, 2, 8000), (1, 8000), (8000,), (0, 1, 8000), (1, 1, 1, 8000))]


def named(wrong):
    return f"{wrong.dtype}-{list(wrong.shape)}"  # values would differ between the processes that share the tests


@pytest.mark.parametrize("waveform", [*STRANGE, torch.zeros(1, 1, 8000, dtype=torch.int16)], ids=named)
def test_log_mel_refuses_other_shapes_and_integers(waveform):
    with pytest.raises(ValueError, match=r"\[batch, 1, samples\] of floats is wanted") as error:
        LogMel(SPEC)(waveform)
    assert str(list(waveform.shape)) in str(error.value)


def test_vocoder_refuses_waveforms_and_mels_of_other_shapes():
    vocoder = Vocoder.load("speech-16k")
    with pytest.raises(ValueError, match=r"\[batch, 1, samples\]"):
        vocoder.spectrogram(torch.randn(1, 2, 8000))
    for mel in (torch.zeros(0, 80, 40), torch.zeros(1, 80, 0), torch.zeros(80, 40), torch.zeros(1, 40, 80)):
        with pytest.raises(ValueError, match="the mel"):
            vocoder.generate(mel)
        with pytest.raises(ValueError, match="the mel"):
            vocode(vocoder, mel)


NO_FLOATS = [
    (np.zeros, TypeError, "give a tensor"),
    (lambda shape: torch.zeros(shape, dtype=torch.int16), ValueError, "floats"),
    (lambda shape: torch.zeros(shape, dtype=torch.complex64), ValueError, "floats"),
]
DOORS = {
    "write": ((1, 8000), lambda x: audio.write("never.wav", x, 16000)),
    "to_pcm": ((1, 8000), audio.to_pcm),
    "lowered": ((1, 8000), audio.lowered),
    "resample": ((1, 8000), lambda x: audio.resample(x, 16000, 8000)),
    "mono": ((2, 8000), audio_io.mono),
    "LogMel": ((1, 1, 8000), LogMel(SPEC)),
    "mel_of": ((1, 8000), lambda x: mel_of(SPEC, x)),
    "score": ((8000,), lambda x: metrics.score(x, x, 16000)),
    "distance": ((8000,), lambda x: metrics.log_spectral_distance_db(x, x, 16000)),
    "generate": ((1, 80, 40), lambda x: Vocoder.load("speech-16k").generate(x)),
    "vocode": ((1, 80, 40), lambda x: vocode(Vocoder.load("speech-16k"), x)),
    "resynthesise": ((1, 8000), lambda x: resynthesise(Vocoder.load("speech-16k"), x)),
    "convert_mel": ((1, 80, 40), lambda x: convert_mel(x, SPEC, MelSpec(16000, log="log10"))),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("zeros", "error", "words"), NO_FLOATS, ids=["array", "int16", "complex"])
def test_arrays_and_other_numbers_than_floats_are_refused(door, zeros, error, words):
    shape, call = DOORS[door]
    with pytest.raises(error, match=words):
        call(zeros(shape))


@pytest.mark.parametrize("shape", [(80, 40), (1, 40, 80), (0, 80, 40), (1, 80, 0)], ids=str)
def test_convert_mel_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"\[clips, 80 bands, frames\] is wanted"):
        convert_mel(torch.zeros(shape), SPEC, MelSpec(16000, hop_length=128))


@pytest.mark.parametrize("shape", [(8000,), (1, 1, 8000)], ids=str)
@pytest.mark.parametrize(
    "door", [audio_io.mono, lambda x: mel_of(SPEC, x), lambda x: MelStatistics.measure([x], SPEC)], ids=range(3)
)
def test_doors_of_recordings_refuse_other_shapes(door, shape):
    with pytest.raises(ValueError, match=r"\[channels, samples\] is wanted"):
        door(torch.randn(shape))


def test_values_that_are_not_finite_are_refused():
    nan = torch.full((1, 80, 40), math.nan)
    with pytest.raises(ValueError, match="the mel holds values that are NaN"):
        convert_mel(nan, SPEC, MelSpec(16000, log="log10"))
    with pytest.raises(ValueError, match="the recording holds samples that are NaN"):
        resynthesise(Vocoder.load("speech-16k"), torch.full((1, 8000), math.nan))


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"seed": None}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": 1.5}, ValueError),
        ({"chunk_frames": 1.5}, ValueError),
        ({"times": "even-t"}, ValueError),
        ({"times": [None]}, ValueError),
        ({"convention": "hifigan"}, TypeError),
    ],
    ids=str,
)
def test_options_of_another_kind_are_refused_by_name(option, error):
    (name,) = option
    with pytest.raises(error, match=f"{name}="):
        vocode(Vocoder.load("speech-16k"), torch.full((1, 80, 40), -5.0), **option)


@pytest.mark.parametrize(
    "options",
    [{"seconds": math.nan}, {"seconds": -1.0}, {"start": -1}, {"frames": -2}, {"sample_rate": "16000"}],
    ids=str,
)
def test_read_refuses_what_lies_in_no_file(options, speech):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}="):
        audio.read(speech, **options)


def test_spectrogram_refuses_a_waveform_without_channels():
    with pytest.raises(ValueError, match=r"\[channels, samples\] is wanted"):
        mel_of(SPEC, torch.randn(8000))


@pytest.mark.parametrize(
    "measure", [metrics.score, *(m for m, _ in metrics.MEASURES.values())], ids=lambda m: m.__name__
)
@pytest.mark.parametrize("shape", [(1, 16000), (2, 16000), (1, 1, 16000)], ids=str)
def test_measures_refuse_waveforms_with_channels(measure, shape):
    with pytest.raises(ValueError, match=r"\[samples\] of one channel is wanted"):
        measure(torch.randn(shape), torch.randn(shape), 16000)


def test_measures_refuse_waveforms_of_different_length():
    for measure, _ in metrics.MEASURES.values():
        with pytest.raises(ValueError, match="16000 against 15000 samples"):
            measure(torch.randn(16000), torch.randn(15000), 16000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_resample_takes_every_float_and_gives_it_back(dtype):
    tone = (0.5 * (2 * math.pi * 440 * torch.arange(4410) / 44100).sin())[None]
    resampled = audio.resample(tone.to(dtype).requires_grad_(), 44100, 16000)
    assert resampled.dtype == dtype
    assert not resampled.requires_grad
    wanted = audio.resample(tone, 44100, 16000)
    assert (resampled.float() - wanted).abs().max() < 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("waveform", [torch.zeros(80), torch.zeros(1, 1, 80), torch.zeros(1, 80, dtype=torch.int16)])
def test_resample_refuses_other_shapes_and_integers(waveform):
    with pytest.raises(ValueError, match=r"\[channels, samples\] of floats"):
        audio.resample(waveform, 16000, 24000)
    for rates in ((0, 16000), (16000, -1), (16000, math.nan)):
        with pytest.raises(ValueError, match="numbers from 1"):
            audio.resample(torch.zeros(1, 80), *rates)


@pytest.fixture
def stereo(tmp_path, waveform):
    """A folder with speech: on the right only, and upside down on the right."""
    voice = waveform[0, :16000]
    for name, left in (("right-only", torch.zeros_like(voice)), ("antiphase", -voice)):
        soundfile.write(tmp_path / f"{name}.wav", torch.stack([left, voice]).T.numpy(), 16000)
    return tmp_path


def test_statistics_and_clips_hear_the_mean_of_channels(stereo):
    recording = Recording(stereo / "right-only.wav", 16000, 16000)
    (clip,) = [Crops(Files([recording]), 16000, 16000)[0]]
    mean = audio.read(recording.path)[0].mean(0, keepdim=True)
    assert torch.allclose(clip, mean, atol=1e-4)
    measured = MelStatistics.measure([audio.read(recording.path)[0]], SPEC)
    wanted = MelStatistics.of([LogMel(SPEC)(mean[None])[0]], SPEC)
    assert torch.allclose(measured.frame_mean, wanted.frame_mean, atol=1e-3)


def test_channels_that_cancel_are_named_and_never_trained_on(stereo, caplog):
    voice, odd = (Recording(stereo / f"{name}.wav", 16000, 16000) for name in ("right-only", "antiphase"))
    examined = {one.path.stem: one.troubles for one in scan.scan([voice.path, odd.path])}
    assert examined == {"right-only": [], "antiphase": ["channels cancel"]}
    with caplog.at_level(logging.WARNING):
        clips = [Crops(Files([voice, odd]), 8000, 16000, seed)[0] for seed in range(8)]
    assert "antiphase.wav: its channels cancel each other" in caplog.text
    assert all(clip.abs().max() > 1e-3 for clip in clips)
    with pytest.raises(ValueError, match="none of the recordings can be read"):
        Crops(Files([odd]), 16000, 16000)[0]
    with pytest.raises(ValueError, match="no recording of a can be read"):
        OneShots(Files([odd._replace(label="a")]), ["a"], 16000, 16000)[0]
    with pytest.raises(ValueError, match="no recording"):
        MelStatistics.measure([audio.read(odd.path)[0]], SPEC)
