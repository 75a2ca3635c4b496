"""What the report shows of a data set by its images: right and wrong answers, findings of the audit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipstore.report import gallery, sections, sentences
from clipstore.store import embeddings
from clipstore.store.approaches import Outcome

NEAREST = 3  # training images beside a wrong answer


def embedded_by(dataset: str, outcome: Outcome, encoders: tuple[str, ...]) -> tuple[str, embeddings.Images] | None:
    """Return whose embeddings say which training images are nearest: the approach's own encoder's, else those of the axis's first."""
    if not encoders:
        return None
    encoder = outcome.made.name if outcome.made.name in encoders else encoders[0]
    sections.existing(embeddings.folder(encoder, dataset) / "images.parquet")
    return encoder, embeddings.read_images(encoder, dataset)


def galleries(dataset: str, outcomes: list[Outcome], encoders: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Return of each approach its surest right and its surest wrong answers, the latter with their nearest training images."""
    found = []
    for outcome in outcomes:
        by = embedded_by(dataset, outcome, encoders)
        near = (by[1].embedding, by[1].rows) if by else None
        right, wrong = (gallery.answers(outcome, which, count, near, 0 if which else NEAREST) for which in (True, False))
        found.append({"name": sentences.called(outcome.title), "encoder": by[0] if by else None, "right": right, "wrong": wrong})
    return found


def audits(dataset: str, encoders: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Return of each encoder what its audit found: figures of metrics/audit, findings by kind, and the classes by cohesion."""
    found = []
    for encoder in encoders:
        cell = f"{encoder}-{dataset}"
        measures = json.loads(sections.existing(Path(f"metrics/audit/{cell}.json")).read_text())
        findings = pd.read_parquet(sections.existing(Path(f"data/audit/{cell}.parquet"))).replace({np.nan: None})
        kinds = {"pairs": ("copy", "near_duplicate", "mirrored"), "labels": ("label",), "outliers": ("outlier",)}
        lists = {name: sections.records(findings[findings["kind"].isin(some)]) for name, some in kinds.items()}
        cohesion = sections.table(Path(f"plots/audit/{cell}.csv"))
        cohesion = cohesion.assign(margin=cohesion["cohesion"] - cohesion["nearest"]).sort_values("margin", kind="stable")
        accuracy = [{"title": f"{stage} {name}", **one} for stage, names in measures["accuracy"].items() for name, one in names.items()]
        shown = {name: {"all": len(some), "shown": some[:count]} for name, some in lists.items()}
        found.append({"encoder": encoder, "measures": measures, "accuracy": accuracy, "cohesion": sections.records(cohesion), **shown})
    return found
