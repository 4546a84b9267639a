"""The demo page, in Gradio (`pip install 'audiodiff-torch[demo]'`): `layout` first, then one file a tab."""
