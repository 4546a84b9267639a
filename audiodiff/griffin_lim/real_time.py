"""Invert a mel spectrogram frame by frame, looking a few frames ahead: for streams.

The newest L + 1 frames are open. A frame that arrives is opened with the phases that its neighbours' overlap has under
its window; then the open frames are iterated as in `consistency.MelProjection`, with magnitudes fitted anew to the mel
each time and extrapolated phases; then the oldest is closed, and the samples that no open frame covers are final.

    closed frames ─┐
                   ├─ overlap-add ─► signal ─► STFT ─► fit to the mel, extrapolate phases ─┐
    open frames  ──┘                                                                       │
         ▲─────────────────────────────── n_iter times a frame ────────────────────────────┘

Reference: Zhu, Beauregard & Wyse, 2007, "Real-time signal estimation from modified short-time Fourier transform
magnitude spectra" (RTISI-LA); there magnitudes are fixed and phases are not extrapolated.
"""

import functools

import torch
from torch import Tensor

from audiodiff.audio.stft import envelope, overlap_add
from audiodiff.griffin_lim.estimate import band_magnitudes
from audiodiff.griffin_lim.kernels import dispatch
from audiodiff.griffin_lim.projection import power_of, with_phase
from audiodiff.griffin_lim.subband import SubbandSTFT
from audiodiff.mel import MelSpec

DOUBT = 0.01  # amount of noise in the first phases of a frame, in units of its magnitudes


class RealTimeInversion:
    """Turn log-mel frames into samples as they arrive; all state is in this object.

    The samples do not depend on how the frames are grouped into calls of `push`.

    Args:
        spec: The mel's convention.
        look_ahead: L, frames that must follow a frame before it is closed.
        n_iter: Iterations of the open frames for each frame that arrives.
        momentum: Of the phase extrapolation, in [0, 1).
        compiled: Whether the compiled kernel may be used, on a CPU in single precision.

    Raises:
        ValueError: look_ahead is negative, n_iter below 1, or momentum not in [0, 1).
    """

    def __init__(
        self, spec: MelSpec, look_ahead: int = 3, n_iter: int = 16, momentum: float = 0.99, compiled: bool = True
    ) -> None:
        if look_ahead < 0 or n_iter < 1 or not 0 <= momentum < 1:
            raise ValueError(
                f"look_ahead={look_ahead}, n_iter={n_iter}, momentum={momentum}: "
                "need look_ahead >= 0, n_iter >= 1 and momentum in [0, 1)"
            )
        self.spec = spec
        self.look_ahead = look_ahead
        self.n_iter = n_iter
        self.extrapolation = momentum / (1 + momentum)
        self.compiled = compiled
        self.overlap = -(-spec.n_fft // spec.hop_length) - 1  # further hops under a frame
        self.arrived = self.closed = self.emitted = 0  # frames, frames, samples
        none = torch.empty(0, dtype=torch.float32)
        self.mel = self.committed = self.frames = self.phases = none  # of the open frames

    def push(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Take log-mel frames, [B, M, any], and return the samples that have become final, [B, 1, any].

        Args:
            mel: The frames.
            noise: White noise, [B, 1, hop_length for each frame]: first phases where no neighbour tells any.

        Raises:
            ValueError: The batch is not that of the frames before.
        """
        if self.arrived and len(mel) != len(self.mel):
            raise ValueError(f"a batch of {len(mel)} clips follows one of {len(self.mel)}: give as many each time")
        hop, pieces = self.spec.hop_length, [mel.new_empty(len(mel), 0)]
        for n in range(mel.shape[-1]):
            pieces.append(self._advance(mel[..., n : n + 1], noise[:, 0, n * hop : (n + 1) * hop]))
        return torch.cat(pieces, -1)[:, None]

    def finish(self) -> Tensor:
        """Close all frames and return the samples that remain: with those before, `hop_length` for each frame."""
        hop, n_open = self.spec.hop_length, self.arrived - self.closed
        if not self.arrived:
            return torch.empty(1, 1, 0, dtype=torch.float32)
        window = self.spec.window(self.frames)
        divisor = open_divisor(self.spec, min(self.closed, self.overlap), n_open, 0, window.dtype, window.device)
        total = self.committed
        if n_open:
            total = total + overlap_add(self.frames * window, hop)
        missing = self.arrived * hop - self.emitted
        first = self.emitted + self.spec.padding[0] - self.closed * hop
        out = (total / divisor[: total.shape[-1]])[:, first : first + missing]
        self.emitted += missing
        return torch.nn.functional.pad(out, (0, missing - out.shape[-1]))[:, None]

    def _advance(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Open a frame, [B, M, 1], iterate, close the oldest; return the samples that are final, [B, hop or fewer]."""
        spec, hop = self.spec, self.spec.hop_length
        self._open(mel)
        n_open, begin = self.arrived - self.closed, spec.padding[0] - self.closed * hop
        octave = SubbandSTFT(spec, self.mel)
        past = min(self.closed, self.overlap)
        divisor = open_divisor(spec, past, n_open, self.overlap, octave.window.dtype, octave.window.device)
        iterate = iterate_open_frames
        if self.compiled and dispatch.can_iterate_open_frames(octave):
            iterate = dispatch.iterate_open_frames
        newest = band_magnitudes(spec, mel, n_iter=0)[:, 0]
        hint = DOUBT * newest * torch.fft.rfft(noise, n=spec.n_fft) * hop**-0.5
        signals = (self.committed, divisor, self.frames, self.phases, newest, hint)
        self.frames, self.phases = iterate(octave, *signals, begin, self.n_iter, self.extrapolation)
        if n_open <= self.look_ahead:
            return mel.new_empty(len(mel), 0)
        self.committed[:, : spec.n_fft] += self.frames[:, 0] * octave.window
        final = (self.committed[:, :hop] / divisor[:hop])[:, max(0, begin) :]
        self.committed, self.frames, self.phases = self.committed[:, hop:], self.frames[:, 1:], self.phases[:, 1:]
        self.closed, self.emitted, self.mel = self.closed + 1, self.emitted + final.shape[-1], self.mel[..., 1:]
        return final

    def _open(self, mel: Tensor) -> None:
        """Make room for a frame, [B, M, 1]: no samples and no phases yet."""
        spec, batch = self.spec, len(mel)
        if not self.arrived:
            self.mel, self.committed = mel[..., :0], mel.new_zeros(batch, self.overlap * spec.hop_length)
            self.frames = mel.new_zeros(batch, 0, spec.n_fft)
            self.phases = torch.zeros(batch, 0, spec.n_fft // 2 + 1, dtype=mel.dtype.to_complex(), device=mel.device)
        self.arrived += 1
        self.mel = torch.cat([self.mel, mel], -1)
        self.committed = torch.nn.functional.pad(self.committed, (0, spec.hop_length))
        self.frames, self.phases = (torch.nn.functional.pad(z, (0, 0, 0, 1)) for z in (self.frames, self.phases))


def iterate_open_frames(
    octave: SubbandSTFT,
    committed: Tensor,
    divisor: Tensor,
    frames: Tensor,
    phases: Tensor,
    newest: Tensor,
    hint: Tensor,
    begin: int,
    n_iter: int,
    extrapolation: float,
) -> tuple[Tensor, Tensor]:
    """Iterate the open frames, of which the last has just come and is still zero.

    Args:
        octave: The transform, and the mel of the open frames.
        committed: Overlap-added closed frames, [B, S].
        divisor: Sum of squared windows, [S].
        frames: Open frames before their synthesis window, [B, F, n_fft].
        phases: Their phases in the previous iteration, [B, F, K]; zeros where there was none.
        newest: Magnitudes with which the last one begins, [B, K].
        hint: What is added to its spectrum before its phases are taken, [B, K].
        begin: Sample at which the sound begins; what lies before is padding.
        n_iter: Iterations.
        extrapolation: Weight of the previous phases.

    Returns:
        The new frames and phases. `kernels.dispatch.iterate_open_frames` is the compiled twin.
    """
    window, hop = octave.window, octave.hop_length
    for n in range(n_iter):
        signal = (committed + overlap_add(frames * window, hop)) / divisor
        signal = _with_padding(signal, begin, octave.spec.pad_mode == "reflect")
        spectrum = torch.fft.rfft(signal.unfold(-1, len(window), hop)[:, : frames.shape[1]] * window)
        if n == 0:
            spectrum = torch.cat([spectrum[:, :-1], with_phase(newest, spectrum[:, -1] + hint)[:, None]], dim=1)
        power = power_of(spectrum)
        magnitudes, phase = power.sqrt(), spectrum * power.rsqrt()
        ahead = phase - extrapolation * phases
        factor = octave.gains(magnitudes) * magnitudes * power_of(ahead).rsqrt()
        frames, phases = torch.fft.irfft(ahead * factor, n=len(window)), phase
    return frames, phases


def _with_padding(signal: Tensor, begin: int, reflect: bool) -> Tensor:
    """Overwrite the samples before `begin` by the reflection of those behind it, or by zeros."""
    if begin <= 0:
        return signal
    mirrored = signal[:, begin + 1 : 2 * begin + 1].flip(-1) if reflect else signal[:, :0]
    return torch.cat([torch.nn.functional.pad(mirrored, (begin - mirrored.shape[-1], 0)), signal[:, begin:]], dim=-1)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # as in stft.hann
def open_divisor(
    spec: MelSpec, past: int, n_open: int, future: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Sum up the squared windows of open frames, of so many before, and of so many after, at the open ones' samples."""
    weights = envelope(spec.window(torch.empty(0, dtype=dtype, device=device)), past + n_open + future, spec.hop_length)
    n_blocks = n_open + -(-spec.n_fft // spec.hop_length) - 1
    return weights[past * spec.hop_length :][: n_blocks * spec.hop_length].contiguous()
