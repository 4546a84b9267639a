"""Corpora packed into shards by litdata, for more recordings than a disk holds."""

import os

from audiodiff.utils.extras import requires_extra

requires_extra("shards", "litdata", purpose="a packed corpus")
os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")  # which asks a package index
