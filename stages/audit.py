"""Look for what is wrong with a data set: python -m stages.audit ENCODER DATASET.

Reads data/embeddings/ENCODER-DATASET, the predictions of every approach, the index, and the images for small thumbnails. Writes
data/audit/ENCODER-DATASET.parquet, a row a finding: near-duplicates, likely label errors, outliers; metrics/audit/ENCODER-DATASET.json:
their counts, and every approach's accuracy with and without the test images that have a near-duplicate in train or val; and
plots/audit/ENCODER-DATASET.csv, the cohesion of each class. It removes and corrects nothing: every finding is for a person to look at.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from tqdm import tqdm

from clipstore.audit import duplicates, label_errors
from clipstore.core.errors import InputError
from clipstore.core.params import section
from clipstore.core.schema import Axes
from clipstore.core.stage import run
from clipstore.data import images, index
from clipstore.measure import metrics
from clipstore.probes import logistic
from clipstore.store import approaches, embeddings, predictions

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Audit(label_errors.Folds):
    """What counts as a near-duplicate, and how labels and outliers are judged."""

    neighbors: int = Field(ge=1)  # nearest images of each split whose pixels are compared; and that tell how far out an image lies
    min_agreement: float = Field(gt=0, le=1)  # least agreement of the outlines of two near-duplicates, in cosine
    outliers: int = Field(ge=0)  # how many are listed


def typicality(near: duplicates.Neighbours, groups: npt.NDArray[np.integer[Any]], k: int) -> npt.NDArray[np.float64]:
    """Return each image's mean cosine to its ``k`` nearest outside its own group, (n,): the lowest are outliers; NaN without any.

    Args:
        near: at least ``k`` of each image, if there are so many.
        groups: (n,), the same for images that show the same picture, which would vouch for each other.
        k: neighbours.
    """
    none = (near.positions < 0) | (groups[near.positions] == groups[:, None])
    nearest = -np.sort(np.where(none, np.inf, -near.cosines.astype(float)), axis=1)[:, :k]
    return pd.DataFrame(nearest).replace(-np.inf, np.nan).mean(axis=1).to_numpy()


def cohesion(vectors: Matrix, labels: Labels, names: list[str]) -> pd.DataFrame:
    """Return a row a class that has images, with the mean cosine of its images to its own mean and to the nearest other class's.

    Columns class_name, images, cohesion, nearest_class, nearest; the last two are empty where there is one class. A class that is not
    much nearer to itself than to another is one that this encoder cannot tell from it.

    Args:
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,).
        names: of the classes.
    """
    present, counts = np.unique(labels, return_counts=True)
    means = np.stack([vectors[labels == label].mean(axis=0, dtype=float) for label in present])
    # The mean of cosines to a direction is the cosine of the mean: no product of n rows is needed.
    similarity = means @ (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).T
    others = np.where(np.eye(len(present), dtype=bool), -np.inf, similarity)
    nearest = others.argmax(axis=1)
    table = pd.DataFrame({"class_name": np.array(names)[present], "images": counts, "cohesion": similarity.diagonal()})
    alone = len(present) == 1
    return table.assign(
        nearest_class="" if alone else table["class_name"].to_numpy()[nearest], nearest=np.nan if alone else others.max(axis=1)
    )


def accuracy(made: predictions.Predictions, leaked: npt.NDArray[np.object_]) -> dict[str, float]:
    """Return top1 and mean_per_class on test, and both without the images whose image_id is in ``leaked``, unless none would be left."""
    rows = made.rows[made.rows["split"] == "test"]
    labels, predicted = rows["label"].to_numpy(), made.probabilities[made.rows["split"] == "test"].argmax(axis=1)
    kept = ~rows["image_id"].isin(leaked).to_numpy()
    found = metrics.accuracies(predicted, labels)
    if kept.any():
        found |= {f"{name}_without_leaked": value for name, value in metrics.accuracies(predicted[kept], labels[kept]).items()}
    return {name: round(value, 6) for name, value in found.items()}


def outliers(typical: npt.NDArray[np.float64], count: int) -> pd.DataFrame:
    """Return the ``count`` images farthest out: columns position, score; NaN, an image without neighbours, is none of them."""
    order = np.argsort(typical, kind="stable")[: min(count, int(np.isfinite(typical).sum()))]
    return pd.DataFrame({"position": order, "score": typical[order]})


def findings(rows: pd.DataFrame, names: list[str], same: pd.DataFrame, wrong: pd.DataFrame, odd: pd.DataFrame) -> pd.DataFrame:
    """Return all findings in one table, those of a kind together, the first to look at first.

    Columns: kind ("copy", "near_duplicate", "mirrored", "label" or "outlier"); image_id, split, class_name; of pairs other_id,
    other_split, other_class (the other is of the earlier split) and agreement, that of the outlines; of labels suggested_class;
    score: cosine of a pair, probability of the given label, an outlier's mean cosine to its nearest.

    Args:
        rows: image_id, split, class_name of n images.
        names: of the classes.
        same: see `duplicates.pairs`.
        wrong: see `label_errors.find`.
        odd: see `outliers`.
    """

    def of(positions: pd.Series, columns: tuple[str, str, str]) -> pd.DataFrame:
        return rows[["image_id", "split", "class_name"]].iloc[positions].set_axis(list(columns), axis=1).reset_index(drop=True)

    this, other = ("image_id", "split", "class_name"), ("other_id", "other_split", "other_class")
    paired = (
        of(same["second"], this).join(of(same["first"], other)).assign(kind=same["kind"], score=same["cosine"], agreement=same["agreement"])
    )
    labelled = of(wrong["position"], this).assign(kind="label", suggested_class=np.array(names)[wrong["suggested"]], score=wrong["score"])
    far = of(odd["position"], this).assign(kind="outlier", score=odd["score"])
    paired = paired.sort_values("kind", kind="stable")
    columns = ["kind", *this, *other, "suggested_class", "score", "agreement"]
    return pd.concat([paired, labelled, far], ignore_index=True).reindex(columns=columns)


def main(encoder: str, dataset: str) -> None:
    """Write the findings, their counts and the cohesion of one cell."""
    settings = section(Audit, "audit")
    embedded = embeddings.read_images(encoder, dataset, features=True)
    indexed = index.read(dataset)
    rows, labels, names = indexed.usable, embedded.labels, embedded.provenance["classes"]
    if embedded.provenance["index"] != indexed.digest:
        raise InputError(f"{embeddings.folder(encoder, dataset)}: made from another index than {index.path_of(dataset)}: run `dvc repro`")
    read = approaches.read_all(dataset, approaches.approaches(section(Axes, "axes")), indexed.digest)
    made = {(one.made.stage, one.made.name): one.made for one in read}
    selected = made["linear_probe", encoder].selected

    places = list(zip(rows["path"], rows["sha256"], strict=True))
    small = images.in_order(lambda place: duplicates.thumbnail(images.load(*place)), places)
    thumbnails = np.stack(list(tqdm(small, f"audit {encoder}-{dataset}", len(places), unit="img", mininterval=1)))
    splits = rows["split"].to_numpy(str)
    near = duplicates.neighbours(embedded.embedding, splits, settings.neighbors)
    same = duplicates.pairs(rows, near, thumbnails, settings.min_agreement)
    groups = duplicates.groups(len(rows), same)
    leaked = rows["image_id"].to_numpy()[duplicates.leaked(groups, splits)]

    vectors = logistic.inputs(embedded)[selected["vectors"]]
    shares, judged = label_errors.out_of_sample(vectors, labels, groups, settings, selected["C"], len(names))
    wrong = label_errors.find(labels, shares, judged)
    odd = outliers(typicality(near, groups, settings.neighbors), settings.outliers)

    first, second = same["first"].to_numpy(), same["second"].to_numpy()
    results: dict[str, Any] = {
        "pairs": {kind: int((same["kind"] == kind).sum()) for kind in ("copy", "near_duplicate", "mirrored")}
        | {"across_splits": int((splits[first] != splits[second]).sum()), "of_two_classes": int((labels[first] != labels[second]).sum())},
        "too_small_to_compare": int((~duplicates.comparable(rows)).sum()),
        "test_images": {"all": int((splits == "test").sum()), "leaked": len(leaked)},
        "labels": {"judged": int(judged.sum()), "not_judged": int((~judged).sum()), "issues": len(wrong)},
        "accuracy": {},
    }
    for (stage, name), one in made.items():
        results["accuracy"].setdefault(stage, {})[name] = accuracy(one, leaked)

    cell = f"{encoder}-{dataset}"
    tables = {kind: Path(kind) / "audit" / cell for kind in ("data", "metrics", "plots")}
    for path in tables.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    findings(rows, names, same, wrong, odd).to_parquet(tables["data"].with_suffix(".parquet"), index=False)
    tables["metrics"].with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    cohesion(embedded.embedding, labels, names).round(6).to_csv(tables["plots"].with_suffix(".csv"), index=False)
    print(f"audit {cell}: {len(same)} pair(s) of one picture, {len(leaked)} test image(s) leaked, {len(wrong)} likely label error(s)")


if __name__ == "__main__":
    run(main)
