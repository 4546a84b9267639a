"""Train a model: `python -m audiodiff.train experiment=quickstart`."""

if __name__ == "__main__":
    from audiodiff.training.command import checked_main

    checked_main()
