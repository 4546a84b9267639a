"""Train a model: `python -m audiodiff.train experiment=quickstart`."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.training.run import train

__all__ = ["train"]

__getattr__, __dir__ = lazy_names("audiodiff.training", {"run": ["train"]}, __all__)

if __name__ == "__main__":
    from audiodiff.training.command import checked_main

    checked_main()
