"""Images that the report shows of a data set: right and wrong answers, findings of the audit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipstore.report import gallery, sections
from clipstore.store import audits, embeddings
from clipstore.store.approaches import readable
from clipstore.store.predictions import Predictions

NEAREST = 3  # training images beside a wrong answer
KINDS = {"pairs": ("copy", "near_duplicate", "mirrored"), "labels": ("label",), "outliers": ("outlier",)}  # of findings


def neighbour_images(dataset: str, approach: Predictions, encoders: tuple[str, ...]) -> tuple[str, embeddings.Images] | None:
    """Return the encoder, and its embeddings, that choose the nearest training images: the approach's own, else the axis's first."""
    if not encoders:
        return None
    encoder = approach.name if approach.name in encoders else encoders[0]
    sections.existing(embeddings.folder(encoder, dataset) / "images.parquet")
    return encoder, embeddings.read_images(encoder, dataset)


def galleries(dataset: str, approaches: list[Predictions], encoders: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Return of each approach its surest right and its surest wrong answers, the latter with their nearest training images."""
    pictured = []
    for approach in approaches:
        encoder, images = neighbour_images(dataset, approach, encoders) or (None, None)
        near = (images.embedding, images.rows) if images else None
        right, wrong = (gallery.answers(approach, which, count, near, 0 if which else NEAREST) for which in (True, False))
        pictured.append({"name": readable(approach.title), "encoder": encoder, "right": right, "wrong": wrong})
    return pictured


def audit_findings(dataset: str, encoders: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Return of each encoder what its audit found: counts of metrics/audit, findings by kind, and the classes by cohesion."""
    reports = []
    for encoder in encoders:
        cell = f"{encoder}-{dataset}"
        measures = json.loads(sections.existing(Path(f"metrics/audit/{cell}.json")).read_text())
        findings = pd.read_parquet(sections.existing(audits.findings_path(encoder, dataset))).replace({np.nan: None})
        by_kind = {name: sections.records(findings[findings["kind"].isin(kinds)]) for name, kinds in KINDS.items()}
        cohesion = sections.table(Path(f"plots/audit/{cell}.csv"))
        cohesion = cohesion.assign(margin=cohesion["cohesion"] - cohesion["nearest"]).sort_values("margin", kind="stable")
        first = {name: {"all": len(rows), "shown": rows[:count]} for name, rows in by_kind.items()}
        reports.append({"encoder": encoder, "measures": measures, "cohesion": sections.records(cohesion), **first})
    return reports
