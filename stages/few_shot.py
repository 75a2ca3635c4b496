"""Learn from a few labelled images per class: `dvc repro -s few_shot@ENCODER-DATASET`.

Reads data/embeddings/ENCODER-DATASET. With k shots a method learns from k training images per class, and its hyperparameters are selected
on k val images per class (all of val would have many more labels than the shots: Silva-Rodriguez et al. 2024); nothing is refitted. Each
seed draws different images; of byte-identical copies in one class, one is drawn. With all images, copies are used as well. All methods use
the unit embeddings. Writes data/few_shot/ENCODER-DATASET.parquet, one row for each number of shots, seed and method;
ENCODER-DATASET.shots.parquet, the images drawn (k shots are the images with shot <= k); and plots/few_shot/ENCODER-DATASET.csv.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from clipstore.core.outputs import write_plot
from clipstore.core.params import Names, section
from clipstore.core.stage import run
from clipstore.measure import metrics
from clipstore.measure.selection import DIGITS
from clipstore.probes import ensemble, shots
from clipstore.probes.methods import OF_IMAGES, OF_TEXTS, Grid, Method, Task, choose
from clipstore.store import embeddings, predictions

Matrix = npt.NDArray[np.float32]

ALL = "all"
SUMMARY = ["shots", "method", "mean_per_class", "std", "wins", "seeds"]  # columns of the plot


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a value occurs twice")
    return values


class FewShot(Grid):
    """How many images per class are drawn, with which seeds, and the values that the methods try."""

    shots: Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(_once)] = Field(
        description="Training images per class; all images are used as well."
    )
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_once)] = Field(
        description="Seeds, each of which draws different images."
    )


def measurements(
    vectors: Matrix,
    rows: pd.DataFrame,
    texts: Matrix,
    classes: int,
    orders: dict[int, npt.NDArray[np.int64]],
    numbers: list[int],
    methods: tuple[Method, ...],
    settings: FewShot,
) -> list[dict[str, Any]]:
    """Return test accuracies and selected values for each number of shots (and finally all images), each seed and each method.

    Args:
        vectors: float32 (n, d), unit rows.
        rows: label and split of each image.
        texts: see `Task`.
        classes: number of classes.
        orders: by seed, the number of each image's shot, int64 (n,).
        numbers: numbers of shots.
        methods: the methods to compare.
        settings: the values to try.
    """
    labels = rows["label"].to_numpy(np.int64)
    train, val, test = (np.flatnonzero(rows["split"] == split) for split in ("train", "val", "test"))
    test_vectors = vectors[test]
    subsets = [(str(number), seed, order <= number) for number in numbers for seed, order in orders.items()]
    subsets.append((ALL, next(iter(orders)), np.ones(len(labels), bool)))  # nothing is drawn, so one seed is enough
    lines = []
    for name, seed, drawn in tqdm(subsets, "few_shot", unit="subset", mininterval=1):
        of_train, of_val = train[drawn[train]], val[drawn[val]]
        task = Task(vectors[of_train], labels[of_train], vectors[of_val], classes, texts)
        for method in methods:
            choice = choose(method(task, settings), labels[of_val])
            measures = metrics.accuracies(choice.classifier.scores(test_vectors).argmax(axis=1), labels[test])
            cell = {"shots": name, "seed": seed, "method": method.__name__}
            chosen = {"val_mean_per_class": choice.val_mean_per_class, "saturated": choice.saturated}
            lines.append(cell | measures | chosen | choice.values)
    return lines


def summary(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the mean and standard deviation (n - 1) of mean_per_class on test over the seeds, and how many draws beat zero-shot.

    Columns shots, method, mean_per_class, std, wins (draws whose mean_per_class is above that of zero-shot with the same shots and seed;
    empty for zero-shot itself and without zero-shot), seeds (their number).
    """
    table = pd.DataFrame(lines)
    baseline = table[table["method"] == "zero_shot"].set_index(["shots", "seed"])["mean_per_class"]
    gains = table["mean_per_class"] - baseline.reindex(pd.MultiIndex.from_frame(table[["shots", "seed"]])).to_numpy()
    compared = gains.notna() & (table["method"] != "zero_shot")
    table["won"] = (gains.round(DIGITS) > 0).where(compared).astype("Int64")
    groups = table.groupby(["shots", "method"], sort=False)
    result = groups["mean_per_class"].agg(mean_per_class="mean", std="std", seeds="count")
    result.insert(2, "wins", groups["won"].sum(min_count=1))
    return result.reset_index()


def not_yet(rows: pd.DataFrame) -> str:
    """Return why the methods cannot be compared on these images (columns split, label); "" if they can."""
    missing = [split for split in ("train", "val", "test") if not (rows["split"] == split).any()]
    if missing:
        return f"needs labelled images in train, val and test; there are none in {', '.join(missing)}"
    return predictions.too_few_labels(rows.loc[rows["split"] == "train", "label"].to_numpy(np.int64))


def write(path: Path, lines: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Write one row for each method, number of shots and seed; values that a method does not use are null."""
    numbers = ["top1", "mean_per_class", "val_mean_per_class", "C", "alpha", "beta"]
    fields = [("shots", pa.string()), ("seed", pa.int64()), ("method", pa.string()), *((name, pa.float64()) for name in numbers)]
    table = pa.Table.from_pylist(lines, pa.schema([*fields, ("converged", pa.bool_()), ("saturated", pa.bool_())]))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"few_shot": json.dumps(facts)}), path)


def main(encoder: str, dataset: str) -> dict[str, Any]:
    """Write the results, the drawn images and the plot of one cell."""
    settings = section(FewShot, "few_shot")
    images = embeddings.read_images(encoder, dataset)
    rows, classes, cell = images.rows, len(images.provenance["classes"]), f"{encoder}-{dataset}"
    path = Path("data/few_shot") / f"{cell}.parquet"
    facts = {key: images.provenance[key] for key in ("classes", "failed", "index", "contract")}
    reason = not_yet(rows)
    if reason:
        write(path, [], facts | {"not_yet": reason})
        pd.DataFrame(columns=["image_id", "split", "label", "seed", "shot"]).to_parquet(path.with_suffix(".shots.parquet"), index=False)
        write_plot(Path("plots/few_shot") / f"{cell}.csv", pd.DataFrame(columns=SUMMARY))
        print(f"few_shot {cell}: not yet: {reason}")
        return {}
    texts = np.empty((0, images.embedding.shape[1]), np.float32)
    methods, left_out = OF_IMAGES, OF_TEXTS
    if encoder in section(Names, "axes.zero_shot"):
        prompts, unit, contract = embeddings.read_texts(encoder, dataset)
        texts = np.float32(contract["logit_scale"]) * ensemble.class_embeddings(unit, prompts["label"].to_numpy(np.int64))
        methods, left_out = OF_IMAGES + OF_TEXTS, ()
    else:
        print(f"few_shot {cell}: {encoder} is not in axes.zero_shot: {len(left_out)} of {len(OF_IMAGES + OF_TEXTS)} methods skipped")
    numbers = shots.fewer_than_all(settings.shots, rows)
    if len(numbers) < len(settings.shots):
        count = len(settings.shots) - len(numbers)
        print(f"few_shot {cell}: {count} of few_shot.shots skipped: no class has more distinct training images, so they equal all images")
    scarce = {number: shots.scarce(rows, number, classes) for number in numbers}
    for number, counts in scarce.items():
        if any(counts.values()):
            short = f"{counts['train']} in train and {counts['val']} in val"
            print(f"few_shot {cell}: of {classes} classes, {short} have fewer than {number} distinct images and use all of them")

    orders = {seed: shots.draw(rows, seed).to_numpy() for seed in settings.seeds}
    with threadpool_limits(1):
        lines = measurements(np.asarray(images.embedding), rows, texts, classes, orders, numbers, methods, settings)
    unfinished = sum(line.get("converged") is False for line in lines)
    largest = {name: max(values) for name in ("C", "alpha", "beta") if len(values := getattr(settings, name)) > 1}
    edge = sum(any(line.get(name) == value for name, value in largest.items()) for line in lines)
    if edge:
        print(f"few_shot {cell}: in {edge} of {len(lines)} cases the largest C, alpha or beta of few_shot was best on val")
    saturated = sum(line["saturated"] for line in lines)
    if saturated:
        cases = f"{saturated} of {len(lines)} cases at least half of a method's settings"
        print(f"warning: few_shot {cell}: in {cases} reach the best accuracy on val: the lowest NLL on val decided")
    facts |= {"scarce": scarce, "left_out": [method.__name__ for method in left_out], "not_converged": unfinished}
    facts |= {"grid_edge": edge, "saturated": saturated}
    write(path, lines, facts)
    drawn = pd.concat([rows[["image_id", "split", "label"]].assign(seed=seed, shot=order) for seed, order in orders.items()])
    drawn = drawn[(drawn["split"] != "test") & (drawn["shot"] <= max(numbers, default=0))]
    drawn.sort_values(["seed", "split", "label", "shot"]).to_parquet(path.with_suffix(".shots.parquet"), index=False)
    write_plot(Path("plots/few_shot") / f"{cell}.csv", summary(lines))
    return {"not_converged": unfinished, "grid_edge": edge, "saturated": saturated}


if __name__ == "__main__":
    run(main)
