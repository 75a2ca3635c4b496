"""What the report shows about images without a class: contact sheets of the answers, class names that look alike, what to label next."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clipstore.probes.ensemble import class_embeddings
from clipstore.report import sections
from clipstore.store import embeddings

PAIRS = 5  # of similar class names, for each encoder


class Sheet(NamedTuple):
    """The images of one predicted class: their number, the surest answers and, least sure first, the least sure of the others."""

    class_name: str
    size: int
    surest: list[dict[str, Any]]
    least: list[dict[str, Any]]


def sheets(rows: pd.DataFrame, count: int, most: int) -> list[Sheet]:
    """Return the contact sheet of each predicted class, in the order of ``rows``.

    Args:
        rows: image_id, class, confidence and runner_up of each answer, by class, the surest first.
        count: images of each kind, the surest and the least sure.
        most: images on all sheets. Classes with many images come first where it does not reach for one image each.
    """
    by_class = {str(name): sections.records(part) for name, part in rows.groupby("class", sort=False)}
    count = min(count, max(1, most // (2 * max(1, len(by_class)))))
    shown = set(sorted(by_class, key=lambda name: -len(by_class[name]))[: most // (2 * count)])
    return [
        Sheet(name, len(part), part[:count] if name in shown else [], part[count:][-count:][::-1] if name in shown else [])
        for name, part in by_class.items()
    ]


def similar_names(dataset: str, encoder: str) -> list[dict[str, Any]]:
    """Return the pairs of class names with the highest cosine of their text embeddings, the most similar first: a, b, cosine."""
    rows, texts, _ = embeddings.read_texts(encoder, dataset)
    names = rows.drop_duplicates("label").set_index("label")["class_name"]
    vectors = class_embeddings(texts, rows["label"].to_numpy(np.int64))
    first, second = np.triu_indices(len(vectors), 1)
    cosines = (vectors @ vectors.T)[first, second].round(4)
    closest = np.argsort(-cosines, kind="stable")[:PAIRS]
    return [{"a": names[first[at]], "b": names[second[at]], "cosine": float(cosines[at])} for at in closest]


def label_next(dataset: str, encoders: tuple[str, ...], image_of: dict[str, str], count: int) -> list[dict[str, Any]]:
    """Return for each encoder the first ``count`` images to label next, the number of all, and the address of the full list.

    Args:
        dataset: name of the data set.
        encoders: those that may have such a list.
        image_of: image_id of each path.
        count: images to show.
    """
    lists = []
    for encoder in encoders:
        path = Path("data/label_next") / f"{encoder}-{dataset}.csv"
        if len(rows := sections.table(path)):
            first = rows.head(count).assign(image_id=rows["path"].map(image_of))
            page = f"../{path.with_suffix('.html')}"
            lists.append({"encoder": encoder, "count": len(rows), "images": sections.records(first), "page": page})
    return lists
