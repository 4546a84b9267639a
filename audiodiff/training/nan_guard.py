"""Skip batches whose loss or gradient is not finite; count them and name their files."""

import logging
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)
NAMED = 5  # skipped batches whose files are logged


class NanGuard:
    """Check losses and gradients, and count the batches that are skipped.

    Args:
        in_a_row: Consecutive batches that end the run.
        sources: Returns the files of the present step's clips.

    Raises:
        ValueError: in_a_row is not positive.
    """

    def __init__(self, in_a_row: int = 20, sources: Callable[[], Iterable[str]] = tuple) -> None:
        if in_a_row < 1:
            raise ValueError(f"in_a_row={in_a_row}: at least 1 batch without a finite loss must be borne")
        self.in_a_row = in_a_row
        self.sources = sources
        self.left_out = 0
        self._run = 0

    def loss(self, loss: Tensor, everywhere: Callable[[Tensor], Tensor] = lambda flag: flag) -> bool:
        """Check whether a loss, [], is finite.

        Args:
            loss: The loss.
            everywhere: Reduces a flag over the processes by its minimum: all of them skip a batch, or none.

        Raises:
            ValueError: Too many batches in a row were not finite.
        """
        good = bool(everywhere(torch.isfinite(loss.detach()).to(torch.float32)) > 0)
        self._count("loss", good)
        return good

    def gradient(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Check whether the norm of the gradients is finite; drop them otherwise, so that no step is taken.

        Raises:
            ValueError: Too many batches in a row were not finite.
        """
        trained = [p for p in parameters if p.grad is not None]
        good = bool(torch.isfinite(nn.utils.get_total_norm([p.grad for p in trained])))
        if not good:
            for parameter in trained:
                parameter.grad = None
            self._count("gradient", good=False)
        return good

    def _count(self, what: str, good: bool) -> None:
        self._run = 0 if good else self._run + 1
        if good:
            return
        self.left_out += 1
        if self.left_out <= NAMED:
            files = sorted(set(self.sources()))
            log.warning(
                "left out a batch whose %s is not finite (%d so far): %s", what, self.left_out, ", ".join(files)
            )
        if self._run >= self.in_a_row:
            raise ValueError(
                f"the {what} was not finite for {self._run} batches in a row: lower optimizer.lr, set "
                "trainer.precision=32-true, or look at the files that the log names"
            )
