"""Look for problems in a data set: `dvc repro -s audit@ENCODER-DATASET`.

Looks at the images that have a class. Reads data/embeddings/ENCODER-DATASET, the linear probe's predictions (for its selected C and
vectors), the index, and the images, to compute small thumbnails. Writes data/audit/ENCODER-DATASET.parquet with one row per finding:
near-duplicates, likely label errors and outliers; data/predictions/DATASET/leaked-ENCODER.parquet, the test images that have a
near-duplicate in train or val, which `score` needs for accuracies without them; metrics/audit/ENCODER-DATASET.json, the counts; and
plots/audit/ENCODER-DATASET.csv, the cohesion of each class. Nothing is removed or corrected: a person should look at every finding.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from pydantic import Field
from tqdm import tqdm

from clipstore.audit import duplicates, label_errors
from clipstore.core.errors import InputError
from clipstore.core.outputs import write_metrics, write_plot
from clipstore.core.params import section
from clipstore.core.rows import NO_LABEL
from clipstore.core.stage import run
from clipstore.data import images, index
from clipstore.probes import logistic
from clipstore.store import audits, embeddings
from clipstore.store.approaches import read_all

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Audit(label_errors.Folds):
    """How near-duplicates, label errors and outliers are identified."""

    neighbors: int = Field(
        ge=1, description="Nearest images of each split whose pixels are compared; their mean cosine also measures how unusual an image is."
    )
    min_agreement: float = Field(gt=0, le=1, description="Least agreement of the outlines of two near-duplicates, as a cosine.")
    outliers: int = Field(ge=0, description="Outliers to list.")


def typicality(near: duplicates.Neighbours, groups: npt.NDArray[np.integer[Any]], k: int) -> npt.NDArray[np.float64]:
    """Return each image's mean cosine to its ``k`` nearest images outside its group, (n,); low values mean outliers, NaN no neighbours.

    Args:
        near: at least ``k`` neighbours of each image, or all of them if there are fewer.
        groups: (n,), equal for images that show the same picture; these would make each other look typical.
        k: number of neighbours.
    """
    excluded = (near.positions < 0) | (groups[near.positions] == groups[:, None])
    nearest = -np.sort(np.where(excluded, np.inf, -near.cosines.astype(float)), axis=1)[:, :k]
    return pd.DataFrame(nearest).replace(-np.inf, np.nan).mean(axis=1).to_numpy()


def cohesion(vectors: Matrix, labels: Labels, names: list[str]) -> pd.DataFrame:
    """Return, for each class with images, the mean cosine of its images to its own mean and to the mean of the nearest other class.

    Columns class_name, images, cohesion, nearest_class, nearest; the last two are empty if there is only one class. If a class is hardly
    closer to its own mean than to that of another class, this encoder does not separate the two.

    Args:
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,).
        names: class names.
    """
    present, counts = np.unique(labels, return_counts=True)
    if not len(present):
        return pd.DataFrame(columns=["class_name", "images", "cohesion", "nearest_class", "nearest"])
    means = np.stack([vectors[labels == label].mean(axis=0, dtype=float) for label in present])
    # The mean of the cosines to a unit vector is the product of the mean with it, so no product of n rows is needed.
    similarity = means @ (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).T
    others = np.where(np.eye(len(present), dtype=bool), -np.inf, similarity)
    nearest = others.argmax(axis=1)
    table = pd.DataFrame({"class_name": np.array(names)[present], "images": counts, "cohesion": similarity.diagonal()})
    alone = len(present) == 1
    return table.assign(
        nearest_class="" if alone else table["class_name"].to_numpy()[nearest], nearest=np.nan if alone else others.max(axis=1)
    )


def outliers(typical: npt.NDArray[np.float64], count: int) -> pd.DataFrame:
    """Return the ``count`` images with the lowest values: columns position, score; images without neighbours (NaN) are excluded."""
    order = np.argsort(typical, kind="stable")[: min(count, int(np.isfinite(typical).sum()))]
    return pd.DataFrame({"position": order, "score": typical[order]})


def findings(rows: pd.DataFrame, names: list[str], pairs: pd.DataFrame, errors: pd.DataFrame, far: pd.DataFrame) -> pd.DataFrame:
    """Return all findings in one table, grouped by kind, the most important of each kind first.

    Columns: kind ("copy", "near_duplicate", "mirrored", "label" or "outlier"); image_id, split, class_name; for pairs other_id,
    other_split, other_class (of the image in the earlier split) and agreement (of the outlines); for labels suggested_class; score: the
    cosine of a pair, the probability of the given label, or an outlier's mean cosine to its nearest images.

    Args:
        rows: image_id, split, class_name of n images.
        names: class names.
        pairs: see `duplicates.pairs`.
        errors: see `label_errors.find`.
        far: see `outliers`.
    """

    def of(positions: pd.Series, columns: tuple[str, str, str]) -> pd.DataFrame:
        return rows[["image_id", "split", "class_name"]].iloc[positions].set_axis(list(columns), axis=1).reset_index(drop=True)

    this, other = ("image_id", "split", "class_name"), ("other_id", "other_split", "other_class")
    paired = (
        of(pairs["second"], this)
        .join(of(pairs["first"], other))
        .assign(kind=pairs["kind"], score=pairs["cosine"], agreement=pairs["agreement"])
    )
    labelled = of(errors["position"], this).assign(
        kind="label", suggested_class=np.array(names)[errors["suggested"]], score=errors["score"]
    )
    outlying = of(far["position"], this).assign(kind="outlier", score=far["score"])
    paired = paired.sort_values("kind", kind="stable")
    columns = ["kind", *this, *other, "suggested_class", "score", "agreement"]
    return pd.concat([paired, labelled, outlying], ignore_index=True).reindex(columns=columns)


def main(encoder: str, dataset: str) -> None:
    """Write the findings of one cell, their counts and the cohesion of its classes."""
    settings = section(Audit, "audit")
    embedded = embeddings.read_images(encoder, dataset, features=True)
    indexed = index.read(dataset)
    names = embedded.provenance["classes"]
    if embedded.provenance["index"] != indexed.digest:
        raise InputError(
            f"{embeddings.folder(encoder, dataset)}: computed from another index than {index.path_of(dataset)}: run `dvc repro`"
        )
    (probe,) = read_all(dataset, [("linear_probe", encoder)], indexed.digest)
    at = np.flatnonzero(embedded.labels != NO_LABEL)
    rows, labels, unit = indexed.usable.iloc[at].reset_index(drop=True), embedded.labels[at], np.asarray(embedded.embedding[at])

    places = list(zip(rows["path"], rows["sha256"], strict=True))
    decoded = images.in_order(lambda place: duplicates.thumbnail(Image.fromarray(images.load(*place, indexed.exif))), places)
    thumbnails = np.array(list(tqdm(decoded, f"audit {encoder}-{dataset}", len(places), unit="img", mininterval=1)))
    splits = rows["split"].to_numpy(str)
    near = duplicates.neighbours(unit, splits, settings.neighbors)
    pairs = duplicates.pairs(rows, near, thumbnails, settings.min_agreement)
    groups = duplicates.groups(len(rows), pairs)
    leaked = rows["image_id"].iloc[duplicates.leaked(groups, splits)]

    probabilities, judged = np.zeros((len(labels), len(names)), np.float32), np.zeros(len(labels), bool)
    if not probe.not_yet:
        vectors = logistic.inputs(embedded)[probe.selected["vectors"]][at]
        probabilities, judged = label_errors.out_of_sample(vectors, labels, groups, settings, probe.selected["C"], len(names))
    errors = label_errors.find(labels, probabilities, judged)
    far = outliers(typicality(near, groups, settings.neighbors), settings.outliers)

    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    counts: dict[str, Any] = {
        "pairs": {kind: int((pairs["kind"] == kind).sum()) for kind in ("copy", "near_duplicate", "mirrored")}
        | {"across_splits": int((splits[first] != splits[second]).sum()), "of_two_classes": int((labels[first] != labels[second]).sum())},
        "too_small_to_compare": int((~duplicates.comparable(rows)).sum()),
        "test_images": {"all": int((splits == "test").sum()), "leaked": len(leaked)},
        "without_class": len(embedded.rows) - len(rows),
        "labels": {"judged": int(judged.sum()), "not_judged": int((~judged).sum()), "issues": len(errors)},
    }
    cell = f"{encoder}-{dataset}"
    target = audits.findings_path(encoder, dataset)
    target.parent.mkdir(parents=True, exist_ok=True)
    findings(rows, names, pairs, errors, far).to_parquet(target, index=False)
    leaked_target = audits.leaked_path(encoder, dataset)
    leaked_target.parent.mkdir(parents=True, exist_ok=True)
    leaked.to_frame().to_parquet(leaked_target, index=False)
    write_metrics(Path("metrics/audit") / f"{cell}.json", counts)
    write_plot(Path("plots/audit") / f"{cell}.csv", cohesion(unit, labels, names))
    print(f"audit {cell}: {len(pairs)} duplicate pair(s), {len(leaked)} leaked test image(s), {len(errors)} likely label error(s)")


if __name__ == "__main__":
    run(main)
