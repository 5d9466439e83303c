"""What the tests of the stand-in share: hashes of all files, and a table's files read by pyarrow, not by this package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from rewarm.trace.synthetic import MARKER

ROOT = "datasets/cold_start_dataset"


def digests(folder):
    """File name -> hash, the marker left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != MARKER
    }


def read(folder, pattern):
    """All files of a pattern, in order, as one Arrow table."""
    return pa.concat_tables([pyarrow.csv.read_csv(path) for path in sorted(Path(folder).glob(f"{ROOT}/{pattern}"))])


def columns(folder, pattern):
    """The same as numpy arrays."""
    table = read(folder, pattern)
    return {name: table[name].to_numpy() for name in table.column_names}


def published(text):
    """Figures written as words."""
    return np.array([float(word) for word in text.split()])
