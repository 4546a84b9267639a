"""Train a model: `python -m audiodiff.train experiment=quickstart`."""

from audiodiff.training.run import checked_main, train

__all__ = ["train"]

if __name__ == "__main__":
    checked_main()
