"""Each effect does to a clip what physics says, and is a function of what it draws."""

import itertools
import math
import random

import pytest
import soundfile
import torch

from audiodiff import audio
from audiodiff.data import Augment, Crops, OneShots, scan_folder
from audiodiff.data.augment.codecs import Codec
from audiodiff.data.augment.effects import AdditiveNoise, BandLimit, Equaliser, PitchShift, Polarity, Room, Shift, Tilt
from audiodiff.data.augment.filters import aligned, at_level_of
from audiodiff.training.hydra_config import composed, plain
from audiodiff.utils.config import build, choices, shipped_path

RATE = 16000
ALL = (Polarity, Shift, PitchShift, Tilt, Equaliser, BandLimit, AdditiveNoise, Room, Codec)


def rng(seed=0):
    return random.Random(seed)


def white(seconds=2.0, seed=0):
    return 0.1 * torch.randn(1, int(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def sine(frequency, seconds=1.0):
    return 0.5 * torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * RATE)) / RATE)[None]


def speech():
    return audio.read(shipped_path("demos/audio/speech.flac"), RATE)[0][:, : 2 * RATE]


def level_db(clip, low, high):
    """Mean power of the bins between two frequencies, dB."""
    power = torch.fft.rfft(clip[0] * torch.hann_window(clip.shape[-1])).abs().square()
    frequency = torch.arange(len(power)) * RATE / clip.shape[-1]
    return 10 * float(power[(frequency >= low) & (frequency < high)].mean().log10())


def rms(clip):
    return float(clip.square().mean().sqrt())


def test_polarity_turns_the_sign():
    assert torch.equal(Polarity(1)(white(), RATE, rng()), -white())


def test_shift_puts_silence_first_and_keeps_the_rest():
    clip = white()
    moved = Shift(1, seconds=0.1)(clip, RATE, rng(3))
    by = int((moved[0] != 0).nonzero()[0])
    assert 0 < by <= 0.1 * RATE
    assert torch.equal(moved[:, by:], clip[:, : clip.shape[-1] - by])


@pytest.mark.parametrize("semitones", [-2.0, 2.0])
def test_pitch_shift_moves_the_frequency_and_not_the_length(semitones):
    moved = PitchShift(1, [semitones, semitones])(sine(440), RATE, rng())
    assert moved.shape == (1, RATE)
    peak = int(torch.fft.rfft(moved[0] * torch.hann_window(RATE)).abs().argmax())
    assert peak == pytest.approx(440 * 2 ** (semitones / 12), abs=2)


@pytest.mark.parametrize("slope", [-3.0, 3.0])
def test_tilt_is_a_straight_line_over_octaves(slope):
    clip = white(8)
    bright = Tilt(1, [slope, slope])(clip, RATE, rng())
    rises = [level_db(bright, f, 1.1 * f) - level_db(clip, f, 1.1 * f) for f in (250, 500, 1000, 2000, 4000)]
    assert [b - a for a, b in itertools.pairwise(rises)] == pytest.approx([slope] * 4, abs=0.4)
    assert rms(bright) == pytest.approx(rms(clip), rel=1e-4)


def test_equaliser_stays_within_its_gains_and_moves_bands_apart():
    clip = white(8)
    changed = Equaliser(1, [-6, 6])(clip, RATE, rng(1))
    gains = torch.tensor([level_db(changed, f, 1.05 * f) - level_db(clip, f, 1.05 * f) for f in (100, 400, 1600, 6400)])
    assert float(gains.max() - gains.min()) > 2
    assert float(gains.max() - gains.min()) <= 12.5
    assert rms(changed) == pytest.approx(rms(clip), rel=1e-4)


def test_band_limit_keeps_what_is_below_and_nothing_above():
    clip = white()
    dull = BandLimit(1, [4000, 4000])(clip, RATE, rng())
    assert level_db(dull, 4000, 8000) < level_db(clip, 4000, 8000) - 40
    assert level_db(dull, 50, 3500) == pytest.approx(level_db(clip, 50, 3500), abs=0.05)
    assert torch.equal(BandLimit(1, [8000, 9000])(clip, RATE, rng()), clip)


@pytest.mark.parametrize(("ratio", "slope"), [(10, 0), (30, -3), (0, -6)])
def test_noise_has_its_ratio_and_its_slope(ratio, slope):
    clip = sine(440, 8)
    added = AdditiveNoise(1, [ratio, ratio], [slope, slope])(clip, RATE, rng()) - clip
    assert 20 * math.log10(rms(clip) / rms(added)) == pytest.approx(ratio, abs=0.01)
    assert level_db(added, 2000, 2200) - level_db(added, 500, 550) == pytest.approx(2 * slope, abs=1.5)


@pytest.mark.parametrize("effect", [AdditiveNoise(1, [10, 10], [0, 0]), Room(1, [0.3, 0.3], [5, 5])])
def test_noise_and_rooms_are_drawn_anew_for_every_clip(effect):
    assert rms(effect(speech(), RATE, rng(1)) - effect(speech(), RATE, rng(2))) > 0.1 * rms(speech())


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_room_decays_by_60_db_in_its_time_and_leaves_the_direct_sound_in_place(seconds):
    response = Room(1, [seconds, seconds], [5, 5]).response(RATE, rng())
    energy = response[1:].square().flip(0).cumsum(0).flip(0)  # Schroeder's integral
    decay = 10 * (energy / energy[0]).log10()
    start, end = (int((decay < level).nonzero()[0]) for level in (-5, -25))
    assert 3 * (end - start) / RATE == pytest.approx(seconds, rel=0.15)
    assert float(response[0]) == 1
    assert 10 * math.log10(1 / float(response[1:].square().sum())) == pytest.approx(5, abs=0.01)
    click = torch.zeros(1, RATE)
    click[0, 100] = 0.9
    heard = Room(1, [seconds, seconds], [5, 5])(click, RATE, rng())
    assert int(heard.abs().argmax()) == 100
    assert float(heard[:, :100].abs().max()) < 1e-6


def lag(late, clip):
    """Samples by which one signal is behind another."""
    size = 2 * clip.shape[-1]
    agreement = torch.fft.irfft(torch.fft.rfft(late, n=size) * torch.fft.rfft(clip, n=size).conj(), n=size)[0]
    return (int(agreement.argmax()) + size // 2) % size - size // 2


@pytest.mark.parametrize("name", Codec.FORMATS)
def test_codec_keeps_time_and_most_of_the_sound(name):
    clip = speech()
    coded = Codec(1, [name], [0.9, 0.9])(clip, RATE, rng())
    assert coded.shape == clip.shape
    assert not torch.equal(coded, clip)
    assert lag(coded, clip) == 0
    assert float((coded * clip).sum() / (coded.norm() * clip.norm())) > 0.9


@pytest.mark.parametrize("by", [-700, 0, 1105, 4000])
def test_delay_is_taken_back(by):
    clip = speech()
    late = clip[:, -by:] if by < 0 else torch.nn.functional.pad(clip, (by, 0))
    back = aligned(late, clip, 4096)
    assert back.shape == clip.shape
    assert torch.equal(back[:, max(0, -by) :], clip[:, max(0, -by) :])


@pytest.mark.parametrize(("name", "cut"), [("mp3", 5200), ("opus", 5200), ("ulaw", 4100), ("gsm", 4100)])
def test_codec_leaves_nothing_above_its_cut(name, cut):
    clip = white()
    coded = Codec(1, [name], [0.99, 0.99])(clip, RATE, rng())
    assert level_db(coded, cut, RATE / 2) < level_db(clip, cut, RATE / 2) - 60
    assert level_db(coded, 300, 2000) == pytest.approx(level_db(clip, 300, 2000), abs=4)


@pytest.mark.parametrize("name", ["mp3", "vorbis", "opus"])
def test_codec_errs_more_the_more_it_compresses(name):
    clip = speech()
    errors = [rms(Codec(1, [name], [level, level])(clip, RATE, rng()) - clip) for level in (0.0, 0.9, 0.99)]
    assert errors == sorted(errors)
    assert errors[2] > 3 * errors[0]


def test_codec_does_not_clip_what_is_above_full_scale():
    loud = 3 * speech() / speech().abs().max()
    assert rms(Codec(1, ["vorbis"], [0, 0])(loud, RATE, rng()) - loud) < 0.05 * rms(loud)


def test_codec_that_cannot_be_written_here_is_named(monkeypatch):
    monkeypatch.setattr(soundfile, "check_format", lambda kind, coding: coding != "OPUS")
    with pytest.raises(ValueError, match="this libsndfile does not write opus"):
        Codec(1, ["mp3", "opus"])
    assert Codec(1, ["mp3"]).formats == ["mp3"]


def test_mixture_has_its_ratio():
    one, other = white(seed=1), 7 * white(seed=2)
    added = Augment(mix=1, mix_db=[6, 6]).mixed(one, other, rng()) - one
    assert 20 * math.log10(rms(one) / rms(added)) == pytest.approx(6, abs=0.01)
    assert torch.allclose(added / rms(added), at_level_of(one, other) / rms(one), atol=1e-4)


def quiet(folder):
    """Two recordings of noise at a tenth of full scale, in a folder each."""
    for i in range(2):
        (folder / str(i)).mkdir()
        soundfile.write(folder / str(i) / "a.wav", white(2, seed=i).clamp(-0.4, 0.4)[0].numpy(), RATE, subtype="FLOAT")
    return scan_folder(folder)


def test_effects_reach_clips_and_one_shots(tmp_path):
    recordings, turned = quiet(tmp_path), Augment(then={"polarity": Polarity(1)})
    for make in (
        lambda augment: Crops(recordings, 4000, RATE, augment=augment),
        lambda augment: OneShots(recordings, ["0", "1"], 4000, RATE, augment=augment),
    ):
        plain, changed = (torch.cat([sound(make(augment)[n]) for n in range(4)]) for augment in (None, turned))
        assert torch.equal(changed, -plain)


def sound(item):
    return item if isinstance(item, torch.Tensor) else item[0]


def test_mixtures_reach_their_share_of_the_clips(tmp_path):
    recordings = quiet(tmp_path)
    plain = Crops(recordings, 2000, RATE)
    mixed = Crops(recordings, 2000, RATE, augment=Augment(mix=0.25, mix_db=[6, 6]))
    added = [mixed[n] - plain[n] for n in range(200)]
    ratios = [20 * math.log10(rms(plain[n]) / rms(a)) for n, a in enumerate(added) if rms(a)]
    assert len(ratios) == pytest.approx(50, abs=25)  # standard error 6
    assert ratios == pytest.approx([6.0] * len(ratios), abs=0.01)


@pytest.mark.parametrize("effect", ALL)
def test_effect_is_a_function_of_what_it_draws_and_keeps_the_length(effect):
    clip = speech()[:, :12345]
    torch.manual_seed(0)
    first = effect(1)(clip, RATE, rng(5))
    torch.manual_seed(1)
    again, other = effect(1)(clip, RATE, rng(5)), effect(1)(clip, RATE, rng(6))
    assert torch.equal(first, again)
    assert first.shape == clip.shape
    assert bool(torch.isfinite(first).all())
    assert effect is Polarity or not torch.equal(first, other)
    assert torch.equal(effect(0)(clip, RATE, rng(5)), clip)
    changed = [not torch.equal(effect(0.5)(clip[:, :4000], RATE, rng(n)), clip[:, :4000]) for n in range(40)]
    assert 5 < sum(changed) < 35


@pytest.mark.parametrize("name", choices("augment"))
def test_augmentation_of_every_configuration_stays_within_full_scale(name):
    augment = build(plain(composed(["data.path=x", f"augment={name}"]).augment))
    data = Crops(scan_folder(shipped_path("datasets/clips/speech")), 8000, RATE, seed=2, augment=augment)
    for n in range(12):
        clip = data[n]
        assert clip.shape == (1, 8000)
        assert float(clip.abs().max()) <= 1
        assert torch.equal(clip, data[n])
        assert data.sources(n)


@pytest.mark.parametrize(
    "build_it",
    [
        lambda: AdditiveNoise(1.5),
        lambda: AdditiveNoise(1, [20, 10]),
        lambda: Room(1, [0, 1]),
        lambda: Codec(1, ["real-audio"]),
        lambda: Codec(1, ["mp3"], [0.5, 1.0]),
        lambda: Augment(mix=2),
    ],
)
def test_effect_out_of_range_is_refused(build_it):
    with pytest.raises(ValueError, match=r"not in|must be|positive|choose"):
        build_it()
