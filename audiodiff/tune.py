"""Search hyperparameters: `python -m audiodiff.tune space=basic`."""

from audiodiff.tuning.run import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
