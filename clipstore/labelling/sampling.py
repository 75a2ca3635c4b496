"""Draw images at random, whose labels give the only accuracy that is stated for unlabelled images."""

from pathlib import Path

import numpy as np
import pandas as pd

from clipstore.core.errors import InputError
from clipstore.core.rows import UNLABELLED
from clipstore.data import labels, records
from clipstore.data.index import Index
from clipstore.data.tree import counted, listed


def draw(index: Index, known: pd.DataFrame, number: int, seed: int) -> pd.DataFrame:
    """Return the labels of the data set with ``number`` images drawn uniformly from those without a label or purpose.

    Images with the same bytes count as one. The same images, labels and seed give the same draw.

    Args:
        index: of the data set.
        known: its labels so far, in the columns of the labels file.
        number: of images to draw, 0 or more.
        seed: of the draw.

    Raises:
        InputError: there are fewer images.
    """
    rows = index.usable
    free = (rows["split"] == UNLABELLED) & (rows["purpose"] == "")
    pool = sorted(set(rows["sha256"][free]) - set(rows["sha256"][~free]) - set(known["sha256"]))
    if number and not pool:
        raise InputError(f"{index.dataset}: all of its {counted(len(rows), 'image')} are labelled or drawn already")
    if number > len(pool):
        raise InputError(
            f"{index.dataset}: N = {number}: expected at most {len(pool)}, the number of different images neither labelled nor drawn yet"
        )
    chosen = np.random.default_rng(seed).choice(len(pool), number, replace=False)
    facts = {"class_name": "", "purpose": "test", "source": f"clipstore label sample, seed {seed}", "round": labels.next_round(known)}
    drawn = pd.DataFrame([{"sha256": pool[position]} | facts for position in chosen], columns=list(labels.COLUMNS))
    return pd.concat([known, drawn], ignore_index=True) if number else known


def waiting(index: Index, known: pd.DataFrame) -> pd.DataFrame:
    """Return the drawn images that have no label yet, in the order of the draw: columns rank (from 1), image_id, path, sha256.

    Drawn images that are gone from the data set are left out.
    """
    rows = index.usable.drop_duplicates("sha256").set_index("sha256", drop=False)
    drawn = known["sha256"][(known["purpose"] == "test") & (known["class_name"].str.strip() == "") & known["sha256"].isin(rows.index)]
    found = rows.loc[drawn, ["image_id", "path", "sha256"]].reset_index(drop=True)
    found.insert(0, "rank", found.index + 1)
    return found


def check_imported(listing: Path, known: pd.DataFrame) -> None:
    """Refuse to replace a list of drawn images that a person has filled in.

    Args:
        listing: the list, a CSV file with the columns sha256 and class_name, or no file.
        known: the labels of the data set so far, in the columns of the labels file.

    Raises:
        InputError: it has class names that are not among the labels, or cannot be read.
    """
    if not listing.exists():
        return
    header, lines = records.read(listing)
    if not {"sha256", "class_name"} <= set(header):
        raise InputError(f"{listing}: the columns are {listed(header)}; expected sha256 and class_name; import the file, or move it away")
    labelled = set(known["sha256"][known["class_name"].str.strip() != ""])
    rows = [dict(zip(header, fields, strict=True)) for _, fields in lines]
    count = sum(row["class_name"].strip() != "" and row["sha256"] not in labelled for row in rows)
    if count:
        raise InputError(f"{listing}: {counted(count, 'class name')} not imported yet; import the file, or move it away")
