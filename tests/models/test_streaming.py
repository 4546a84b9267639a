"""A sound made in chunks, or while its mel arrives, is the sound made at once."""

import itertools

import pytest
import torch

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import VPrediction
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.mel import MelSpec
from audiodiff.models import streaming
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, RealTimeGriffinLim, Variation
from audiodiff.models.vocoder import Vocoder
from audiodiff.models.whitening import Identity, MelWhitening
from audiodiff.nn import HybridNetwork, ParallelNetwork, SampleNetwork, SubBandNetwork
from audiodiff.pipelines import resynthesis
from audiodiff.pipelines.resynthesis import vocode, vocode_stream
from audiodiff.utils.config import choices, choose

SPEC = MelSpec(8000, n_fft=64, win_length=64, hop_length=16, n_mels=8, f_max=4000.0)
FRAMES = 90
TOLERANCE = 1e-4  # float32: sums of other lengths round differently


def network_of(kind, **options):
    small = {"n_mels": 8, "mel_hop_length": 16}
    hybrid = {
        "width": 8,
        "dilations": (1, 2),
        "n_stages": 1,
        "kernel": 3,
        "n_heads": 2,
        "attention_window": 3,
        "embedding": 8,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = {
            "hybrid": lambda: HybridNetwork(8, 32, **hybrid, **small, **options),
            "announced": lambda: HybridNetwork(8, 32, **hybrid, **small, magnitudes="both", mel=SPEC),
            "subbands": lambda: SubBandNetwork(
                8, 32, n_bands=3, width=4, dilations=(1, 2), n_stages=1, kernel=3, n_heads=2, embedding=8,
                encoder_width=8, **small,
            ),
            "samples": lambda: SampleNetwork(16, n_mels=8, width=4, n_layers=4, cycle=4, embedding=8, encoder_width=8),
            "resolutions": lambda: ParallelNetwork(
                [HybridNetwork(8, 32, **hybrid, **small), HybridNetwork(16, 64, **hybrid, **small)]
            ),
        }[kind]()  # fmt: skip
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def vocoder_of(kind="hybrid", start=None, whitening=None, projection_iters=0, final_iters=0, **options):
    denoiser = Denoiser(network_of(kind, **options), VPrediction(), CosineVP(log_snr_min=-8.0, log_snr_max=12.0))
    whitening = whitening or MelWhitening(SPEC, block=8)
    return Vocoder(
        SPEC, denoiser, whitening, start, steps=2, projection_iters=projection_iters, final_iters=final_iters
    ).eval()


@pytest.fixture(scope="module")
def mel():
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(FRAMES * 16) / 8000
    sound = 0.3 * torch.sin(2 * torch.pi * (300 + 200 * t) * t) + 0.02 * torch.randn(len(t), generator=generator)
    return vocoder_of().spectrogram(sound[None, None])


def differs(vocoder, mel, chunk, **how):
    whole, parts = (vocoder.generate(mel, chunk_frames=n, **how) for n in (None, chunk))
    assert parts.shape == whole.shape
    return float((parts - whole).abs().max())


@pytest.mark.parametrize("chunk", [1, 7, 30, FRAMES - 1, FRAMES, 500])
@pytest.mark.parametrize("kind", ["hybrid", "announced", "subbands", "samples", "resolutions"])
def test_chunks_of_any_size_give_the_whole_with_any_network(kind, chunk, mel):
    assert differs(vocoder_of(kind), mel, chunk) < TOLERANCE


@pytest.mark.parametrize("name", choices("solver"))
def test_chunks_give_the_whole_with_any_solver(name, mel):
    assert differs(vocoder_of(), mel, 20, steps=4, solver=choose("solver", name), seed=3) < TOLERANCE


@pytest.mark.parametrize(
    "start",
    [
        PureNoise(),
        MelNoise(SPEC),
        GriffinLim(SPEC, n_iter=3),
        CoarseToFine(SPEC, full=1, half=2, quarter=0, eighth=0),
        RealTimeGriffinLim(SPEC, look_ahead=2, n_iter=3),
        Variation(torch.sin(torch.arange(FRAMES * 16) / 9)[None, None], 0.5),
    ],
    ids=lambda start: type(start).__name__,
)
@pytest.mark.parametrize("whitening", [Identity(0.1), MelWhitening(SPEC, block=16)], ids=["identity", "shaped"])
def test_chunks_give_the_whole_from_any_start(start, whitening, mel):
    assert differs(vocoder_of(whitening=whitening), mel, 11, start=start) < TOLERANCE


@pytest.mark.parametrize(("projection_iters", "final_iters"), [(2, 0), (0, 2), (1, 3)])
def test_chunks_give_the_whole_with_projections(projection_iters, final_iters, mel):
    assert differs(vocoder_of(projection_iters=projection_iters, final_iters=final_iters), mel, 9) < TOLERANCE


def test_chunks_give_the_whole_from_a_real_time_start_before_projections(mel):
    start = RealTimeGriffinLim(SPEC, look_ahead=2, n_iter=2)
    assert differs(vocoder_of(projection_iters=1), mel, 9, start=start) < TOLERANCE


def test_chunks_of_a_batch_give_the_whole(mel):
    assert differs(vocoder_of(), torch.cat([mel, mel.flip(-1)]), 25) < TOLERANCE


def test_chunks_leave_no_seam(mel):
    chunk, sound = 10, vocoder_of().generate(mel, chunk_frames=10)[0, 0]
    jumps = sound.diff().abs()
    at_seams = jumps[chunk * 16 - 1 :: chunk * 16]
    assert float(at_seams.max()) < float(jumps.quantile(0.999))


def test_less_reach_would_be_heard(mel, monkeypatch):
    vocoder = vocoder_of(projection_iters=1)
    monkeypatch.setattr(streaming, "stage_contexts", lambda *_: [streaming.Context(1, 1)] * 3)
    assert differs(vocoder, mel, 10) > 10 * TOLERANCE


def test_streams_are_what_the_whole_is_however_the_mel_arrives(mel):
    vocoder, whole = vocoder_of(), vocoder_of().generate(mel, seed=4)
    for lengths in ([1] * FRAMES, [3, 50, 1, 36]):
        pieces = list(vocoder.stream(iter(mel.split(lengths, -1)), seed=4))
        assert float((torch.cat(pieces, -1) - whole).abs().max()) < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True}, {"start": MelNoise(SPEC)}, {"start": RealTimeGriffinLim(SPEC)}, {"final_iters": 1}],
)
def test_streams_lag_behind_by_the_look_ahead_and_no_more(options, mel):
    vocoder, arrived, heard = vocoder_of(**options), 0, 0

    def arriving():
        nonlocal arrived
        for piece in mel.split(1, -1):
            arrived += 1
            yield piece

    ahead = vocoder.look_ahead()
    for piece in vocoder.stream(arriving()):
        heard += piece.shape[-1]
        if arrived < FRAMES:
            assert heard // 16 == arrived - ahead
    assert heard == 16 * FRAMES
    assert 0 < ahead < FRAMES / 2


def test_causal_networks_look_ahead_less(mel):
    causal, other = vocoder_of(causal=True), vocoder_of()
    assert causal.look_ahead() < other.look_ahead()
    changed = mel.clone()
    changed[..., 60:] += 1
    for vocoder in (causal, other):
        moved = (vocoder.generate(changed) - vocoder.generate(mel)).abs()[0, 0].nonzero()
        assert int(moved.min()) >= (60 - vocoder.look_ahead()) * 16


def test_streams_yield_what_was_good_before_they_break(mel):
    vocoder = vocoder_of()
    broken = itertools.chain(mel.split(30, -1), [torch.zeros(1, 5, 10)])
    heard, stream = [], vocoder.stream(broken)
    with pytest.raises(ValueError, match=r"the mel is \[5, 10\]"):
        for piece in stream:
            heard.append(piece)
    good = torch.cat(heard, -1)
    assert good.shape[-1] // 16 == FRAMES - vocoder.look_ahead()
    assert torch.allclose(good, vocoder.generate(mel)[..., : good.shape[-1]], atol=TOLERANCE)


def test_streams_that_end_too_early_are_refused(mel):
    with pytest.raises(ValueError, match="the mel has 1 frames of 16 samples; at least"):
        list(vocoder_of().stream(mel[..., :1].split(1, -1)))


@pytest.mark.parametrize("chunk", [0, -1])
def test_chunks_must_not_be_empty(chunk, mel):
    with pytest.raises(ValueError, match=f"chunk_frames={chunk}: a whole number of at least 1"):
        vocoder_of().generate(mel, chunk_frames=chunk)


def test_what_is_known_of_the_whole_cannot_be_cut(mel):
    with pytest.raises(ValueError, match="leave out chunk_frames"):
        vocoder_of().generate(mel, chunk_frames=5, known=lambda denoise: denoise)


def test_networks_that_know_positions_cannot_be_cut(mel):
    with pytest.raises(ValueError, match="cannot work piece by piece"):
        vocoder_of(n_positions=4).generate(mel, chunk_frames=5)


def test_long_mels_are_cut_without_being_asked(mel, monkeypatch):
    vocoder, calls = vocoder_of("subbands"), []
    vocoder.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    vocoder.generate(mel, steps=1)
    assert len(calls) == 1
    monkeypatch.setattr(streaming, "LONG_SECONDS", 0.1)
    monkeypatch.setattr(streaming, "CHUNK_SECONDS", 0.05)
    monkeypatch.setattr(streaming, "BESIDE_A_WIDE_START", 0.05)
    vocoder.generate(mel, steps=1)
    assert len(calls) - 1 == -(-FRAMES // 25)
    vocoder_of(n_positions=4).generate(mel, steps=1)  # cannot be cut, so is not


def test_streams_of_two_channels_are_each_channel_s_sound(mel):
    vocoder, stereo = vocoder_of(), torch.cat([mel, mel.flip(-1)])
    found = torch.cat(list(vocode_stream(vocoder, stereo.split(20, -1), seed=2)), -1)
    assert torch.allclose(found, vocode(vocoder, stereo, seed=2).waveform, atol=TOLERANCE)


@pytest.mark.parametrize(("pieces", "said"), [([], "no frames"), ([torch.zeros(3, 8, 5)], "3 channels")])
def test_streams_of_nothing_or_of_too_many_channels_are_refused(pieces, said):
    with pytest.raises(ValueError, match=said):
        list(vocode_stream(vocoder_of(), pieces))


def test_an_hour_fits_into_two_gibibytes_and_a_thousand_do_not(mel, monkeypatch):
    monkeypatch.setattr("audiodiff.utils.devices.free_memory", lambda device: 2 * 2**30)
    vocoder = vocoder_of()
    vocoder.mel = MelSpec(16000)  # as `speech-16k` has it
    vocoder.sample_rate = 16000
    hour = torch.zeros(1, 1, 1).expand(1, 80, 225_000)
    resynthesis._check_memory(vocoder, hour, vocoder.mel)
    with pytest.raises(ValueError, match=r"1000\.0 h, which takes about 858\.6 GiB .* and 2\.0 are free: cut it"):
        resynthesis._check_memory(vocoder, torch.zeros(1, 1, 1).expand(1, 80, 225_000_000), vocoder.mel)


def test_chunks_are_equal_and_shorter_beside_a_start_that_looks_further_than_they_are_long():
    vocoder = Vocoder.load("speech-16k")
    rate = vocoder.sample_rate / vocoder.hop_length
    cut = {n: streaming.chunk_of(vocoder, vocoder.sampling(n), round(600 * rate)) for n in (1, 4)}
    assert {n: frames / rate for n, frames in cut.items()} == pytest.approx({1: 30, 4: 20})
    assert streaming.chunk_of(vocoder, vocoder.sampling(1), round(64 * rate)) == 32 * rate
    assert streaming.chunk_of(vocoder, vocoder.sampling(1), round(60 * rate)) is None
