"""Train a model: `python -m audiodiff.train experiment=quickstart`."""

from audiodiff.training.run import main, train

__all__ = ["main", "train"]

if __name__ == "__main__":
    main()
