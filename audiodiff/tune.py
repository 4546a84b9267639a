"""Search configurations: `python -m audiodiff.tune study=mine n_trials=20 data.path=recordings`."""

if __name__ == "__main__":
    from audiodiff.tuning.command import main

    main()
