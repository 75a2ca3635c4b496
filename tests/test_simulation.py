"""The simulation: its rows, its baseline, its means, and the data sets that it leaves out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.rows import NO_LABEL
from clipstore.data import index
from clipstore.store import embeddings
from stages import simulation
from tests.synthetic import clusters, image_rows, use

SECTION: dict[str, Any] = {
    "labels": [0, 1, 2, 50],
    "strategies": ["typiclust", "margin"],
    "seeds": 2,
    "draws": 3,
    "candidates": 100,
    "C": 10.0,
    "max_iter": 100,
}
SPLITS = ["train"] * 24 + ["test"] * 6
LABELS = [0] * 14 + [1] * 7 + [2] * 3 + [0, 1, 2] * 2


def write(splits: Sequence[str], labels: Sequence[int], classes: int = 3) -> None:
    rows = image_rows(splits, labels)
    rows["purpose"] = ""
    toy = index.Index("toy", rows, {"classes": [f"class {label}" for label in range(classes)]})
    provenance = {"classes": toy.classes, "failed": 0, "index": toy.digest, "contract": "c0"}
    vectors = clusters(np.maximum(np.array(labels), 0))
    embeddings.write_images(embeddings.folder("enc", "toy"), rows, {"embedding": vectors}, provenance, "float32")


@pytest.fixture
def cell(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cell of three classes, with an encoder without a text tower."""
    use(monkeypatch, {"simulation": SECTION, "axes": {"zero_shot": []}})
    write(SPLITS, LABELS)
    return project


def run() -> pd.DataFrame:
    simulation.main("enc", "toy")
    return pd.read_parquet("data/simulation/enc-toy.parquet")


def plot() -> pd.DataFrame:
    return pd.read_csv("plots/simulation/enc-toy.csv")


def test_each_strategy_seed_and_number_of_labels(cell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = run()
    runs = [("random", 0), ("random", 1), ("random", 2), *((name, seed) for name in ("typiclust", "margin") for seed in (0, 1))]
    assert list(table[["strategy", "seed", "labels"]].itertuples(index=False, name=None)) == [(*each, k) for each in runs for k in (1, 2)]
    assert (table["images"] == 3 * table["labels"]).all()
    assert "1 of simulation.labels skipped: train has 24 images of 3 classes" in capsys.readouterr().out


def test_a_class_that_no_label_shows_cannot_be_answered(cell: Path) -> None:
    table = run()
    assert table["top1"].tolist() == pytest.approx((table["classes"] / 3).tolist())  # the clusters are easy to tell apart
    first = table[table["labels"] == 1].groupby("strategy")["classes"].min()
    assert first["typiclust"] == 3 > first["random"]


def test_the_plot_has_the_mean_and_deviation_of_each_strategy(cell: Path) -> None:
    table, means = run(), plot()
    assert list(means) == ["labels", "strategy", "mean_per_class", "std", "seeds"]
    row = means[(means["labels"] == 1) & (means["strategy"] == "random")].iloc[0]
    values = table[(table["labels"] == 1) & (table["strategy"] == "random")]["mean_per_class"].to_numpy()
    assert (row["mean_per_class"], row["std"], row["seeds"]) == pytest.approx((values.mean(), values.std(ddof=1), 3), abs=1e-6)


def test_zero_shot_answers_without_labels(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"simulation": SECTION, "axes": {"zero_shot": ["enc"]}})
    texts = pd.DataFrame({"class_name": ["a", "b", "c"], "label": [0, 1, 2], "prompt": 0, "text": ["a", "b", "c"]})
    embeddings.write_texts(embeddings.folder("enc", "toy"), texts, clusters(np.array([0, 1, 3])), {})
    (embeddings.folder("enc", "toy") / "texts_contract.json").write_text('{"logit_scale": 10.0}')
    row = run().iloc[0]
    assert (row["labels"], row["strategy"], row["images"]) == (0, "zero_shot", 0) and row["top1"] >= 2 / 3
    assert plot()["std"].isna().tolist() == [True] + [False] * 6


def test_the_same_bytes_again(cell: Path) -> None:
    run()
    files = [Path("data/simulation/enc-toy.parquet"), Path("plots/simulation/enc-toy.csv")]
    first = [file.read_bytes() for file in files]
    run()
    assert [file.read_bytes() for file in files] == first


LEFT_OUT: dict[str, tuple[list[str], list[int], int]] = {
    "1 images have no label": ([*SPLITS, "unlabelled"], [*LABELS, NO_LABEL], 3),
    "1 of 3 classes have fewer than 3 labels in train": (SPLITS[1:], [*LABELS[:23], *LABELS[24:]], 3),
    "1 of 4 classes have fewer than 3 labels in train": (SPLITS, LABELS, 4),
    "no test images": (["train"] * 30, LABELS, 3),
    "1 class, expected at least 2": (["train"] * 5 + ["test"], [0] * 6, 1),
    "2 of 2 classes have fewer than 3 labels in train": (["test"] * 4, [0, 1] * 2, 2),
}


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_a_data_set_that_cannot_be_used_has_no_rows_and_a_reason(
    reason: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, {"simulation": SECTION, "axes": {"zero_shot": []}})
    write(*LEFT_OUT[reason])
    assert run().empty and plot().empty and list(plot()) == simulation.MEANS
    assert capsys.readouterr().out == f"simulation enc-toy: left out: {reason}\n"
    metadata = pq.read_schema("data/simulation/enc-toy.parquet").metadata[b"simulation"]
    assert json.loads(metadata)["not_yet"] == reason


def test_a_wrong_strategy_is_named() -> None:
    with pytest.raises(InputError, match=r"params.yaml: simulation.strategies.0 = 'best'"):
        check(simulation.Simulation, SECTION | {"strategies": ["best"]}, "simulation")
