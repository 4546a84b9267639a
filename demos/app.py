"""Serves the demo page as `audiodiff demo` does, with its own defaults: python demos/app.py. The page is in page/."""

from audiodiff.cli.demo import page

if __name__ == "__main__":  # `audiodiff demo` has the options
    page().main()
