"""The straight path: alpha = 1 - u, sigma = u."""

from torch import Tensor

from audiodiff.diffusion.schedules.base import RangedSchedule


class RectifiedFlow(RangedSchedule):
    """Move from signal to noise on a straight line at constant speed.

        alpha = 1 - u = sigmoid(log_snr / 2),   sigma = u = sigmoid(-log_snr / 2),   curve(u) = -2 logit(u)

    Reference: Liu et al., 2022, arXiv:2209.03003; its shift: Esser et al., 2024, arXiv:2403.03206, section 5.3.2.

    Args:
        log_snr_min, log_snr_max, shift: As for every schedule.
    """

    def __init__(self, log_snr_min: float | None = -15.0, log_snr_max: float | None = 15.0, shift: float = 0.0) -> None:
        super().__init__(log_snr_min, log_snr_max, shift)

    def curve(self, u: Tensor) -> Tensor:
        """Return 2 log((1 - u) / u)."""
        return -2 * u.logit()

    def place(self, log_snr: Tensor) -> Tensor:
        """Return sigmoid(-log_snr / 2)."""
        return (-log_snr / 2).sigmoid()

    def scales(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return sigmoid(log_snr / 2) and sigmoid(-log_snr / 2)."""
        return (log_snr / 2).sigmoid(), (-log_snr / 2).sigmoid()
