"""The real-time start in real numbers and fixed shapes: one frame of `RealTimeInversion` as a function of its state.

At the beginning fewer frames are open than later. The graph has room for all of them: the missing ones are zeros before
the first, and what else differs then (the sum of windows, the reflected samples) lies in tables, a row for each of the
first steps and one for all that follow.
"""

import torch
from torch import Tensor, nn

from audiodiff.export.loops import repeat
from audiodiff.export.transforms import RealTransform, overlap_add
from audiodiff.griffin_lim.estimate import band_magnitudes
from audiodiff.griffin_lim.projection import pair_power
from audiodiff.griffin_lim.real_time import DOUBT, open_divisor
from audiodiff.griffin_lim.subband import SubbandSTFT
from audiodiff.models.starts import RealTimeGriffinLim


class RealInversion(nn.Module):
    """Map a frame, its noise and the state to the samples that become final and the next state.

    Args:
        start: The start.

    Raises:
        ValueError: It looks no frame ahead.
    """

    def __init__(self, start: RealTimeGriffinLim) -> None:
        super().__init__()
        if not start.look_ahead:
            raise ValueError("a real-time start that looks no frame ahead cannot be exported: choose look_ahead=1")
        spec, inversion = start.mel, start.inversion()
        self.spec, self.look_ahead, self.n_iter = spec, start.look_ahead, start.n_iter
        self.extrapolation, self.overlap = inversion.extrapolation, inversion.overlap
        self.n_open = start.look_ahead + 1
        octave = SubbandSTFT(spec, torch.zeros(1, spec.n_mels, self.n_open))
        self.transform = RealTransform(octave.window, spec.hop_length, (0, 0), "constant")
        noise = torch.fft.rfft(torch.eye(spec.n_fft, dtype=torch.float64)[: spec.hop_length])
        noise = DOUBT * spec.hop_length**-0.5 * torch.cat([noise.real, noise.imag], -1)
        self.register_buffer("noise_matrix", noise.float(), persistent=False)
        rows = [self._row(t) for t in range(self.look_ahead + max(self.overlap, self._padded_hops()) + 1)]
        for name, tensors in zip(("divisor", "source", "kept", "opened"), zip(*rows, strict=True), strict=True):
            table = torch.stack(tensors)
            self.register_buffer(name, table if name == "source" else table.float(), persistent=False)

    def _padded_hops(self) -> int:
        return -(-self.spec.padding[0] // self.spec.hop_length)

    def _row(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what the samples are divided by, whence they come, which are kept, and which frames are open."""
        spec, hop = self.spec, self.spec.hop_length
        closed = max(0, step - self.look_ahead)
        n_open = step + 1 - closed
        missing = (self.n_open - n_open) * hop  # samples of frames that are not open yet
        divisor = open_divisor(
            spec, min(closed, self.overlap), n_open, self.overlap, torch.float64, torch.device("cpu")
        )
        source, begin = torch.arange(len(divisor)), spec.padding[0] - closed * hop
        kept = source >= begin
        if spec.pad_mode == "reflect":
            source = torch.where(kept, source, 2 * begin - source)
            kept = source < len(divisor)
        before = torch.zeros(missing, dtype=torch.float64)
        return (
            torch.cat([before + 1, divisor]),
            torch.cat([before.long(), missing + source.clamp(max=len(divisor) - 1)]),
            torch.cat([before, kept.float()]),
            (torch.arange(self.n_open) >= self.n_open - n_open).float()[:, None],
        )

    def state(self) -> dict[str, Tensor]:
        """Return the state before the first frame: zeros."""
        spec, count = self.spec, self.look_ahead
        return {
            "committed": torch.zeros(1, (self.overlap + count) * spec.hop_length),
            "frames": torch.zeros(1, count, self.transform.laps * spec.hop_length),
            "phases": torch.zeros(1, 2, count, spec.n_fft // 2 + 1),
            "open_mel": torch.zeros(1, spec.n_mels, count),
        }

    def forward(self, mel: Tensor, noise: Tensor, step: Tensor, *state: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Open a frame, iterate, close the oldest.

        Args:
            mel: Log-mel of the frame, [1, M, 1].
            noise: White noise, [1, hop].
            step: How many frames came before, [1].
            state: As from `state`.

        Returns:
            Samples, [1, hop], which are padding or nothing in the first steps; and the state.
        """
        hop, (committed, frames, phases, open_mel) = self.spec.hop_length, state
        open_mel = torch.cat([open_mel, mel], -1)
        frames, phases = nn.functional.pad(frames, (0, 0, 0, 1)), nn.functional.pad(phases, (0, 0, 0, 1))
        committed = nn.functional.pad(committed, (0, hop))
        row = step.clamp(max=len(self.divisor) - 1)
        divisor, kept, opened = (z.index_select(0, row) for z in (self.divisor, self.kept, self.opened))
        source = self.source.index_select(0, row)[0]
        gains = SubbandSTFT(self.spec, open_mel).gains

        def spectra(frames: Tensor) -> Tensor:
            signal = (committed + overlap_add(frames, hop)) / divisor
            blocks = (signal.index_select(1, source) * kept).unflatten(1, (-1, hop))
            parts = [blocks.narrow(1, lap, self.n_open) for lap in range(self.transform.laps)]
            return self.transform.spectrum_of(torch.cat(parts, -1))

        def moved(spectrum: Tensor, phases: Tensor) -> tuple[Tensor, Tensor]:
            power = pair_power(*spectrum.unbind(1))
            magnitudes, phase = power.sqrt(), spectrum * power.rsqrt().unsqueeze(1)
            ahead = phase - self.extrapolation * phases
            factor = gains(magnitudes) * magnitudes * pair_power(*ahead.unbind(1)).rsqrt()
            frames = self.transform.frames_of(ahead * factor.unsqueeze(1))
            return frames * opened, phase * opened.unsqueeze(1)

        newest = band_magnitudes(self.spec, mel, n_iter=0)
        hint = (noise @ self.noise_matrix).unflatten(-1, (2, 1, -1)) * newest.unsqueeze(1)
        spectrum = spectra(frames)
        last = spectrum[:, :, -1:] + hint
        last = last * (newest / pair_power(*last.unbind(1)).sqrt().unsqueeze(1))
        frames, phases = moved(torch.cat([spectrum[:, :, :-1], last], 2), phases)
        frames, phases = repeat(lambda f, p: moved(spectra(f), p), self.n_iter - 1, frames, phases)
        closing = nn.functional.pad(frames[:, 0], (0, committed.shape[-1] - frames.shape[-1]))
        committed = committed + closing
        final = committed[:, :hop] / divisor[:, :hop]
        return final, (committed[:, hop:], frames[:, 1:], phases[:, :, 1:], open_mel[..., 1:])
