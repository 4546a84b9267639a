"""Serve the demo page with its defaults: python demos/app.py. `audiodiff demo` has the options."""

from audiodiff.web import layout

if __name__ == "__main__":
    layout.main()
