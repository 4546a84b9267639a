"""Live streams: the sound of the whole, early, whatever the producer does, in memory that does not grow."""

import functools
import gc
import itertools
import random
import threading

import pytest
import torch
from support.live import live_vocoder

from audiodiff.mel import MelSpec
from audiodiff.models import Identity, MelWhitening
from audiodiff.models.stateful import VocoderStream, can_keep_state, delay_in_samples
from audiodiff.models.streaming import live_config

SPEC = MelSpec(8000, n_fft=64, win_length=64, hop_length=16, n_mels=8, f_max=4000.0)
FRAMES = 60
vocoder_of = functools.partial(live_vocoder, SPEC, n_iter=2)


@pytest.fixture(scope="module")
def mel():
    generator = torch.Generator().manual_seed(1)
    return vocoder_of().spectrogram(0.1 * torch.randn(1, 1, FRAMES * 16, generator=generator))


@pytest.mark.parametrize("chunk", [1, 3, 7, FRAMES])
@pytest.mark.parametrize("whitening", [Identity(0.1), MelWhitening(SPEC, block=16)], ids=["plain", "whitened"])
def test_live_stream_of_any_chunks_is_the_whole(whitening, chunk, mel):
    vocoder = vocoder_of(whitening=whitening)
    assert len(live_config(vocoder).times) == 2  # its own network
    found = torch.cat(list(vocoder.stream(mel.split(chunk, -1), live=True, seed=4)), -1)
    assert float((found - vocoder.generate(mel, seed=4)).abs().max()) < 1e-4


def test_live_model_lags_by_what_its_parts_must_know(mel):
    """Three frames and the padding of the start, a window of the network, two blocks for each way of the whitening."""
    vocoder = vocoder_of()
    delay = delay_in_samples(vocoder, live_config(vocoder))
    assert delay == (3 * 16 + 24) + 2 * 8 + 32 + 2 * 8
    stream, heard = VocoderStream(vocoder, live_config(vocoder)), 0
    for arrived, frame in enumerate(mel.split(1, -1), 1):
        heard += stream.push(frame).shape[-1]
        assert heard == max(0, arrived * 16 - delay)
    assert heard + stream.finish().shape[-1] == FRAMES * 16


def test_live_sound_of_a_model_that_sees_far_is_that_of_the_start_alone(mel):
    vocoder = vocoder_of(causal=False)
    vocoder.sample_rate = 800  # so that its view is a second
    start = live_config(vocoder).start
    assert len(live_config(vocoder).times) == 1
    noise = live_config(vocoder, 5).noise(1).draw(torch.empty(1, 1, FRAMES * 16))
    found = torch.cat(list(vocoder.stream(mel.split(2, -1), live=True, seed=5)), -1)
    assert torch.equal(found, start.waveform(mel, noise))


def test_live_decides_how_to_sample(mel):
    with pytest.raises(ValueError, match="leave out steps"):
        vocoder_of().stream([mel], live=True, steps=2)


def test_live_stream_does_not_mind_bursts_and_stalls(mel):
    vocoder, rng = vocoder_of(), random.Random(0)
    whole, stream, rest, out = vocoder.generate(mel), VocoderStream(vocoder, live_config(vocoder)), mel, []
    while rest.shape[-1]:
        count = rng.choice([0, 0, 1, 2, 19])
        out.append(stream.push(rest[..., :count]))
        rest = rest[..., count:]
    out.append(stream.finish())
    assert float((torch.cat(out, -1) - whole).abs().max()) < 1e-4


def test_live_stream_yields_what_was_good_before_a_nan(mel):
    vocoder, heard = vocoder_of(), []
    stream = vocoder.stream(itertools.chain(mel.split(30, -1)[:1], [mel[..., :1] * float("nan")]), live=True)
    with pytest.raises(ValueError, match="NaN"):
        heard.extend(stream)
    good = torch.cat(heard, -1)
    assert good.shape[-1] == 30 * 16 - delay_in_samples(vocoder, live_config(vocoder))
    assert torch.allclose(good, vocoder.generate(mel)[..., : good.shape[-1]], atol=1e-4)


def test_ten_live_streams_at_once_sound_as_each_alone(mel):
    vocoder, found = vocoder_of(), {}
    wanted = [torch.cat(list(vocoder.stream(mel.split(5, -1), live=True, seed=n)), -1) for n in range(10)]

    def run(n):
        found[n] = torch.cat(list(vocoder.stream(mel.split(5, -1), live=True, seed=n)), -1)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[n], wanted[n]) for n in range(10))


def test_live_stream_holds_no_more_after_a_minute_than_after_a_second(mel):
    def held():
        gc.collect()
        return sum(z.numel() for z in gc.get_objects() if issubclass(type(z), torch.Tensor))

    stream = VocoderStream(vocoder := vocoder_of(), live_config(vocoder))
    for _ in range(8):
        stream.push(mel)
    before = held()
    for _ in range(20):
        stream.push(mel)
    assert held() == before


def test_networks_and_samplers_without_state_are_refused():
    projected = vocoder_of()
    projected.projection_iters = 2
    assert not can_keep_state(projected, projected.sampling())
    with pytest.raises(ValueError, match="cannot keep state"):
        VocoderStream(projected, projected.sampling())
