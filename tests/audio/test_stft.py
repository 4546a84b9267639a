"""The short-time Fourier transform and its inverse, against torch's own and against naive loops."""

import pytest
import torch
from support.drawn import draw

from audiodiff.audio.stft import hann, istft, overlap_add, stft

CPU = torch.device("cpu")


def window_of(n_fft, power=1.0, win_length=None):
    return hann(win_length or n_fft, n_fft, power, torch.float64, CPU)


@pytest.mark.parametrize(
    ("n_frames", "size", "hop"), [(1, 8, 2), (5, 8, 2), (5, 8, 8), (4, 7, 3), (6, 5, 4), (3, 4, 9)]
)
def test_overlap_add_equals_a_loop(n_frames, size, hop):
    frames = draw(2, 3, n_frames, size)
    out = torch.zeros(2, 3, (n_frames - 1) * hop + max(size, hop) + hop, dtype=torch.float64)
    for k in range(n_frames):
        out[..., k * hop : k * hop + size] += frames[..., k, :]
    made = overlap_add(frames, hop)
    assert made.shape == (2, 3, (n_frames + -(-size // hop) - 1) * hop)
    assert torch.allclose(made, out[..., : made.shape[-1]], atol=1e-14)
    assert bool((out[..., made.shape[-1] :] == 0).all())


@pytest.mark.parametrize("win_length", [64, 48, 33])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
def test_stft_equals_that_of_torch(win_length, pad_mode):
    x = draw(2, 500)
    ours = stft(x, window_of(64, win_length=win_length), 16, (32, 32), pad_mode)
    window = torch.hann_window(win_length, dtype=torch.float64)
    theirs = torch.stft(x, 64, 16, win_length, window, center=True, pad_mode=pad_mode, return_complex=True)
    assert torch.allclose(ours, theirs.transpose(1, 2), atol=1e-12)  # float64


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 16), (64, 32), (60, 17), (33, 8), (64, 63)])
@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("padded", [True, False])
def test_stft_is_inverted_wherever_a_window_lies(n_fft, hop, power, padded):
    frames = 12
    padding = ((n_fft - hop) // 2, n_fft - hop - (n_fft - hop) // 2) if padded else (0, 0)
    x, window = draw(2, frames * hop), window_of(n_fft, power)
    spectrum = stft(x, window, hop, padding, "constant")
    assert spectrum.shape[1] == (x.shape[-1] + sum(padding) - n_fft) // hop + 1
    back = istft(spectrum, window, hop, padding, x.shape[-1])
    assert back.shape == x.shape
    covered = torch.zeros(x.shape[-1] + sum(padding))
    for k in range(spectrum.shape[1]):
        covered[k * hop : k * hop + n_fft] += window**2
    covered = covered[padding[0] : padding[0] + x.shape[-1]]
    assert torch.allclose(back[:, covered > 1e-5], x[:, covered > 1e-5], atol=1e-9)  # float64
    assert bool((back[:, covered == 0] == 0).all())
    assert float((covered > 1e-5).float().mean()) > 0.8


def test_istft_is_the_least_squares_inverse():
    """No signal's STFT is nearer to an inconsistent spectrum: the residual is orthogonal to every signal's STFT."""
    window, n = window_of(32), 200
    wanted = torch.complex(draw(1, 22, 17, seed=1), draw(1, 22, 17, seed=2))
    wanted[..., 0].imag.zero_()  # frames must be real
    wanted[..., -1].imag.zero_()
    best = istft(wanted, window, 8, (0, 0), n)

    def distance(signal):
        difference = torch.fft.irfft(stft(signal, window, 8, (0, 0), "constant") - wanted, n=32)
        return float(difference.square().sum())

    for seed in range(5):
        nudge = draw(1, n, seed=seed)
        nudge[:, 0] = 0  # a periodic Hann window begins with 0: its first sample is free
        assert distance(best) < distance(best + 1e-3 * nudge)


def test_istft_fills_up_to_the_wanted_length():
    window = window_of(32)
    spectrum = stft(draw(1, 100), window, 8, (0, 0), "constant")
    assert istft(spectrum, window, 8, (0, 0), 300).shape == (1, 300)
    assert bool((istft(spectrum, window, 8, (0, 0), 300)[:, 105:] == 0).all())
    assert torch.equal(istft(spectrum, window, 8, (0, 0), 300)[:, :90], istft(spectrum, window, 8, (0, 0), 90))
    assert istft(spectrum, window, 8, (3, 0), 102).shape == (1, 102)
    assert torch.equal(istft(spectrum, window, 8, (3, 0), 50), istft(spectrum, window, 8, (0, 0), 53)[:, 3:])


def test_hann_is_periodic_centred_and_raised_to_its_power():
    assert torch.allclose(window_of(64), torch.hann_window(64, dtype=torch.float64))
    assert torch.allclose(window_of(64, 0.5) ** 2, window_of(64))
    inner = window_of(64, win_length=40)
    assert bool((inner[:12] == 0).all())
    assert bool((inner[52:] == 0).all())
    assert torch.allclose(inner[12:52], torch.hann_window(40, dtype=torch.float64))
    assert len(window_of(64, win_length=33)) == 64
    assert hann(8, 8, 1.0, torch.float32, CPU).dtype == torch.float32


def test_hann_made_while_sampling_serves_training():
    with torch.inference_mode():
        window = hann(37, 41, 1.0, torch.float64, CPU)
    assert not window.is_inference()
