"""Answer for every image without a class: `dvc repro -s answers@DATASET`.

Reads the index and the predictions of all approaches named by the axes. Writes data/answers/DATASET.csv and DATASET.parquet (see
`clipstore.store.answers`). The approach is chosen and its temperature fitted on val, never on test.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from clipstore.core.errors import InputError
from clipstore.core.params import section
from clipstore.core.rows import UNLABELLED
from clipstore.core.schema import Axes
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.measure import calibration, metrics, selection
from clipstore.store import answers, predictions
from clipstore.store.answers import Answers, Notes
from clipstore.store.approaches import APPROACHES, calibration_images, cells, read_all, readable
from clipstore.store.predictions import Predictions

ASKED = ("", "drawn")  # purposes of images without a class that get an answer; the others show none of the classes
DIGITS = 6  # of confidence and margin: the last bits differ between machines


def answering(fitted: list[Predictions], temperatures: dict[str, float]) -> tuple[Predictions, str]:
    """Return the approach that answers, and why it does, as a clause.

    It is the best on val by mean per class, ties going to the lower negative log-likelihood after temperature scaling; without val
    images, the first that trains nothing; else the first.

    Args:
        fitted: approaches with predictions, at least one, in the table's order.
        temperatures: of the calibrated approaches, by title.
    """
    on_val = [approach for approach in fitted if len(approach.of("val")[1])]
    if len(fitted) == 1:
        return fitted[0], "no other approach has answers yet"
    if on_val:
        val = [approach.of("val") for approach in on_val]
        accuracies = [metrics.mean_per_class(logits.argmax(axis=1), labels) for logits, labels in val]
        divisors = [temperatures.get(approach.title, 1.0) for approach in on_val]
        losses = [selection.nll(logits / divisor, labels) for divisor, (logits, labels) in zip(divisors, val, strict=True)]
        at = selection.best(accuracies, losses)
        count = len(val[at][1])
        images = "the one val image" if count == 1 else f"the {count:,} val images"
        return on_val[at], f"it is the most accurate on {images}, with {100 * accuracies[at]:.1f} % mean per-class accuracy"
    unmeasured = "there are too few labels to compare the approaches on val images"
    untrained = {approach.stage for approach in APPROACHES if approach.trains == "nothing"}
    free = [approach for approach in fitted if approach.stage in untrained]
    if free:
        return free[0], f"{unmeasured}, and {readable(free[0].stage)} needs no labels"
    return fitted[0], f"{unmeasured}, and it is the first that could be trained"


def table(images: pd.DataFrame, approaches: list[Predictions], chosen: Predictions, temperature: float | None) -> pd.DataFrame:
    """Return the rows of the files.

    Args:
        images: rows of the index without a class; those that were looked at and show none of the classes get no answer.
        approaches: on the axes; those with predictions have ``images`` in the same order.
        chosen: the one of them that answers.
        temperature: of ``chosen``; None if it is not calibrated.
    """
    logits, classes = chosen.of(UNLABELLED)[0], np.array(chosen.classes, object)
    probabilities = calibration.scaled(logits, temperature or 1.0)
    order, at = np.argsort(-logits, axis=1, kind="stable"), np.arange(len(logits))
    first, second = order[:, 0], order[:, min(1, len(classes) - 1)]
    other = (second != first) & np.isfinite(logits[at, second])  # whether another class is possible
    confidence, runner_up = probabilities[at, first], classes[second]
    runner_up[~other] = None
    own = {
        approach.title: None if approach.not_yet else np.array(approach.classes, object)[approach.of(UNLABELLED)[0].argmax(axis=1)]
        for approach in approaches
    }
    rows = pd.DataFrame(
        {
            "path": images["path"].to_numpy(object),
            "class": classes[first],
            "confidence": confidence.round(DIGITS),
            "margin": (confidence - np.where(other, probabilities[at, second], 0)).round(DIGITS),
            "runner_up": runner_up,
            "approach": chosen.title,
            "calibrated": temperature is not None,
            **own,
        }
    )
    asked = images["purpose"].isin(ASKED).to_numpy()
    sequence = np.lexsort((-confidence.round(DIGITS), first))
    return rows.iloc[sequence[asked[sequence]]].reset_index(drop=True)


def main(dataset: str) -> None:
    """Write the answers of one data set."""
    indexed = index.read(dataset)
    images = indexed.usable[indexed.usable["split"] == UNLABELLED].reset_index(drop=True)
    approaches = read_all(dataset, cells(section(Axes, "axes")), indexed.digest)
    fitted = [approach for approach in approaches if not approach.not_yet]
    for approach in fitted:
        if (ids := approach.rows.loc[approach.rows["split"] == UNLABELLED, "image_id"].tolist()) != images["image_id"].tolist():
            path = predictions.path_of(dataset, approach.stage, approach.name)
            problem = f"{len(ids)} images without a class, expected the {len(images)} of {index.path_of(dataset)} in the same order"
            raise InputError(f"{path}: {problem}: run `dvc repro` again")
    rows = pd.DataFrame(columns=[*answers.COLUMNS, *(approach.title for approach in approaches)], dtype=object)
    if not fitted:
        reasons = "; ".join(f"{readable(approach.title)}: {approach.not_yet}" for approach in approaches)
        notes = Notes(indexed.digest, not_yet=f"no approach can answer yet ({reasons})")
    else:
        trained = indexed.usable.loc[indexed.usable["split"] == "train", "label"].to_numpy()
        val = {approach.title: calibration_images(approach, trained) for approach in fitted}
        temperatures = {title: calibration.fit_temperature(logits, labels) for title, (logits, labels) in val.items() if len(labels)}
        chosen, why = answering(fitted, temperatures)
        notes = Notes(indexed.digest, chosen.title, why, chosen.title in temperatures)
        if images["purpose"].isin(ASKED).any():
            rows = table(images, approaches, chosen, temperatures.get(chosen.title))
        else:
            notes = replace(notes, not_yet="every image has a label")
    answers.write(dataset, Answers(rows, notes))
    print(f"answers: {dataset}: {notes.not_yet or f'{len(rows)} images, by {notes.approach}: {notes.why}'}")


if __name__ == "__main__":
    run(main)
