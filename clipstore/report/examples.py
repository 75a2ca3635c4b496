"""The images of a data set that the report shows: right and wrong answers, findings of the audit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipstore.report import gallery, sections
from clipstore.store import audits, embeddings
from clipstore.store.approaches import readable
from clipstore.store.predictions import Predictions

NEAREST = 3  # training images shown with a wrong answer
KINDS = {"pairs": ("copy", "near_duplicate", "mirrored"), "labels": ("label",), "outliers": ("outlier",)}  # of findings, by group


def neighbour_images(dataset: str, approach: Predictions, encoders: tuple[str, ...]) -> tuple[str, embeddings.Images] | None:
    """Return the encoder whose embeddings rank the training images, and these embeddings: the approach's own encoder, else the first."""
    if not encoders:
        return None
    encoder = approach.name if approach.name in encoders else encoders[0]
    sections.existing(embeddings.folder(encoder, dataset) / "images.parquet")
    return encoder, embeddings.read_images(encoder, dataset)


def galleries(dataset: str, approaches: list[Predictions], encoders: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Return each approach's most confident right and wrong answers, the wrong ones with their nearest training images."""
    shown = []
    for approach in approaches:
        encoder, images = neighbour_images(dataset, approach, encoders) or (None, None)
        near = (images.embedding, images.rows) if images else None
        right, wrong = (gallery.answers(approach, which, count, near, 0 if which else NEAREST) for which in (True, False))
        shown.append({"name": readable(approach.title), "encoder": encoder, "right": right, "wrong": wrong})
    return shown


def audit_findings(dataset: str, encoders: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """Return each encoder's audit: the counts of metrics/audit, the first ``count`` findings by kind, and the cohesion of the classes."""
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
