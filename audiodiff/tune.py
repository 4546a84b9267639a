"""Search configurations: `python -m audiodiff.tune study=mine n_trials=20 data.path=recordings`."""

from audiodiff.tuning.command import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
