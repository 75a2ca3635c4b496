"""Few-shot learning: which images each method learns from, how values are selected, and what is written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.vectors import unit
from clipstore.probes import adapters, methods, shots
from clipstore.store import embeddings
from stages import few_shot
from tests.synthetic import blobs, embed, use

SECTION: dict[str, Any] = {
    "shots": [2, 1],
    "seeds": [0, 1, 2],
    "C": [100.0, 0.01, 1.0],
    "alpha": [10.0, 0.0, 1.0],
    "beta": [5.0, 1.0],
    "max_iter": 1000,
}
SPLITS = ["train"] * 10 + ["val"] * 8 + ["test"] * 40
LABELS = [at % 2 for at in range(58)]
TEXTS = np.array([[1, 0.2, 0, 0], [0.9, 0.3, 0, 0]], np.float32)
SETTINGS = check(few_shot.FewShot, SECTION)
METHODS = ["nearest_mean", "linear_probe", "zero_shot", "tip_adapter", "text_probe"]


def write_texts(texts: npt.NDArray[np.float32] = TEXTS, prompts: int = 1) -> None:
    folder = embeddings.folder("enc", "toy")
    classes = len(texts) // prompts
    rows = [
        {"class_name": f"class {at % classes}", "label": at % classes, "prompt": at // classes, "text": f"{at}"} for at in range(len(texts))
    ]
    embeddings.write_texts(folder, pd.DataFrame(rows), texts, {})
    (folder / "texts_contract.json").write_text('{"logit_scale": 10.0}')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cell with two classes and texts."""
    monkeypatch.chdir(tmp_path)
    use(monkeypatch, {"few_shot": SECTION, "axes": {"zero_shot": ["enc"]}})
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS))
    write_texts()
    return tmp_path


def run() -> pd.DataFrame:
    few_shot.main("enc", "toy")
    return pd.read_parquet("data/few_shot/enc-toy.parquet")


def facts() -> dict[str, Any]:
    written: dict[str, Any] = json.loads(pq.read_schema("data/few_shot/enc-toy.parquet").metadata[b"few_shot"])
    return written


def test_every_method_with_every_number_of_shots_and_seed(folder: Path) -> None:
    table = run()
    cells = [("1", 0), ("1", 1), ("1", 2), ("2", 0), ("2", 1), ("2", 2), ("all", 0)]
    assert list(table[["shots", "seed", "method"]].itertuples(index=False, name=None)) == [
        (number, seed, method) for number, seed in cells for method in METHODS
    ]
    assert table[["top1", "mean_per_class", "val_mean_per_class"]].min().min() >= 0
    assert table["C"].notna().tolist() == table["method"].isin(["linear_probe", "text_probe"]).tolist()
    assert table["alpha"].notna().tolist() == table["method"].eq("tip_adapter").tolist() == table["beta"].notna().tolist()
    assert table["converged"].isna().tolist() == table["C"].isna().tolist()
    assert facts() == {
        "classes": ["class 0", "class 1"],
        "failed": 0,
        "index": facts()["index"],
        "contract": "c0",
        "scarce": {"1": {"train": 0, "val": 0}, "2": {"train": 0, "val": 0}},
        "left_out": [],
        "not_converged": 0,
        "grid_edge": facts()["grid_edge"],
        "saturated": table["saturated"].sum(),
    }


def test_plot_has_mean_and_deviation_over_the_seeds(folder: Path) -> None:
    table = run()
    plot = pd.read_csv("plots/few_shot/enc-toy.csv")
    assert list(plot) == ["shots", "method", "mean_per_class", "std", "wins", "seeds"]
    row = plot[(plot["shots"] == "1") & (plot["method"] == "linear_probe")].iloc[0]
    three = table[(table["shots"] == "1") & (table["method"] == "linear_probe")]["mean_per_class"].to_numpy()
    assert (row["mean_per_class"], row["std"]) == pytest.approx((three.mean(), three.std(ddof=1)), abs=1e-6)
    assert row["seeds"] == 3
    assert row["std"] > 0
    assert plot[plot["shots"] == "all"]["std"].isna().all()
    assert (plot[plot["shots"] == "all"]["seeds"] == 1).all()


def test_wins_are_the_draws_above_zero_shot() -> None:
    accuracies = {"zero_shot": [0.5, 0.5, 0.5], "knn": [0.5, 0.4, 0.9], "probe": [0.6, 0.5 + 4e-10, 0.7]}
    lines = [
        {"shots": "1", "seed": seed, "method": method, "mean_per_class": values[seed]}
        for seed in range(3)
        for method, values in accuracies.items()
    ]
    table = few_shot.summary(lines).set_index("method")
    assert table.loc[["knn", "probe"], "wins"].tolist() == [1, 2]  # the mean of knn is above zero-shot all the same
    assert table["wins"].isna().tolist() == [True, False, False]
    assert few_shot.summary([line for line in lines if line["method"] != "zero_shot"])["wins"].isna().all()


def test_a_grid_that_val_cannot_tell_apart_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed(SPLITS, LABELS, 2, embedding=np.eye(4)[LABELS])
    count = int(run()["saturated"].sum())
    assert count == facts()["saturated"] >= 14  # both probes, in 7 subsets
    message = f"in {count} of 35 cases at least half of a method's settings reach the best accuracy on val: the lowest NLL on val decided\n"
    assert f"warning: few_shot enc-toy: {message}" in capsys.readouterr().out


def test_zero_shot_is_a_constant_line(folder: Path) -> None:
    table = run()
    line = table[table["method"] == "zero_shot"]["mean_per_class"]
    images = embeddings.read_images("enc", "toy")
    test = images.of("test")
    right = (images.embedding[test] @ unit(TEXTS)[0].T).argmax(axis=1) == images.labels[test]
    assert line.nunique() == 1
    assert line.iloc[0] == pytest.approx(np.mean([right[images.labels[test] == label].mean() for label in (0, 1)]))


def test_the_images_drawn_are_written(folder: Path) -> None:
    run()
    rows = embeddings.read_images("enc", "toy").rows
    drawn = pd.read_parquet("data/few_shot/enc-toy.shots.parquet")
    assert set(drawn["split"]) == {"train", "val"}
    assert len(drawn) == 3 * 2 * 2 * 2  # seeds, splits, classes, shots
    for seed in (0, 1, 2):
        expected = rows[(shots.draw(rows, seed) <= 2) & (rows["split"] != "test")]
        assert set(drawn[drawn["seed"] == seed]["image_id"]) == set(expected["image_id"])


def test_a_second_run_writes_the_same_bytes(folder: Path) -> None:
    run()
    files = [path for path in folder.rglob("*few_shot/*") if path.is_file()]
    before = [path.read_bytes() for path in files]
    run()
    assert len(files) == 3
    assert [path.read_bytes() for path in files] == before


def test_methods_see_their_shots_and_no_more(folder: Path) -> None:
    tasks: list[methods.Task] = []
    classified: list[npt.NDArray[np.float32]] = []

    class Recorder:
        def scores(self, vectors: npt.NDArray[np.float32]) -> adapters.Scores:
            classified.append(vectors)
            return np.zeros((len(vectors), 2))

    def record(task: methods.Task, grid: methods.Grid) -> Iterator[methods.Candidate]:
        tasks.append(task)
        yield methods.Candidate(Recorder(), {}, np.zeros((len(task.val), 2)))

    images = embeddings.read_images("enc", "toy")
    rows, orders = images.rows, {3: shots.draw(images.rows, 3).to_numpy()}
    few_shot.measurements(images.embedding, rows, TEXTS, 2, orders, [1], (record,), SETTINGS)
    one_shot, everything = tasks
    for split, vectors in (("train", one_shot.train), ("val", one_shot.val)):
        expected = images.embedding[(rows["split"] == split) & (orders[3] == 1)]
        assert len(expected) == 2
        np.testing.assert_array_equal(vectors, expected)
    assert len(one_shot.labels) == 2
    assert (len(everything.train), len(everything.val)) == (10, 8)
    assert len(classified) == 2
    for vectors in classified:
        assert len(vectors) == 40
        np.testing.assert_array_equal(vectors, images.embedding[images.of("test")])


def test_probe_from_texts_starts_at_logit_scale_times_the_ensemble(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = np.array([[3, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 1, 0, 0]], np.float32)  # two prompts, two classes
    write_texts(two, prompts=2)
    texts: list[npt.NDArray[np.float32]] = []
    fit = adapters.fit_text_probes

    def record(*arguments: Any) -> Iterator[adapters.TextProbe]:
        texts.append(arguments[2])
        return fit(*arguments)

    monkeypatch.setattr(adapters, "fit_text_probes", record)
    run()
    np.testing.assert_allclose(texts[0], [[10 / np.sqrt(2), 0, 10 / np.sqrt(2), 0], [0, 10, 0, 0]], rtol=1e-6)


def test_an_encoder_without_texts_has_only_the_image_methods(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, {"few_shot": SECTION, "axes": {"zero_shot": ["other"]}})  # although texts.parquet from an earlier run exists
    table = run()
    assert set(table["method"]) == {"nearest_mean", "linear_probe"}
    assert facts()["left_out"] == ["zero_shot", "tip_adapter", "text_probe"]
    assert "few_shot enc-toy: enc is not in axes.zero_shot: 3 of 5 methods skipped\n" in capsys.readouterr().out


def test_too_many_shots_and_too_few_images_are_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, {"few_shot": SECTION | {"shots": [1, 3, 16]}, "axes": {"zero_shot": ["enc"]}})
    labels = [0] * 8 + [1] * 2 + LABELS[10:]  # class 1 has two training images
    embed(SPLITS, labels, 2, embedding=blobs(0, labels))
    table = run()
    assert table["shots"].unique().tolist() == ["1", "3", "all"]
    assert facts()["scarce"] == {"1": {"train": 0, "val": 0}, "3": {"train": 1, "val": 0}}
    messages = capsys.readouterr().out
    assert (
        "few_shot enc-toy: 1 of few_shot.shots skipped: no class has more distinct training images, so they equal all images\n" in messages
    )
    assert "few_shot enc-toy: of 2 classes, 1 in train and 0 in val have fewer than 3 distinct images and use all of them\n" in messages


def test_a_choice_at_the_end_of_the_grid_is_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, {"few_shot": SECTION | {"C": [1e-6, 100.0]}, "axes": {"zero_shot": ["enc"]}})
    write_texts(
        np.array([[0, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    )  # the class names are swapped, so that being far from the texts is better
    table = run()
    count = int(((table["C"] == 100) | (table["alpha"] == 10) | (table["beta"] == 5)).sum())
    assert count == facts()["grid_edge"] > 0
    assert f"few_shot enc-toy: in {count} of 35 cases the largest C, alpha or beta of few_shot was best on val\n" in capsys.readouterr().out
    use(monkeypatch, {"few_shot": SECTION | {"C": [1.0], "alpha": [1.0], "beta": [1.0]}, "axes": {"zero_shot": ["enc"]}})
    run()
    assert facts()["grid_edge"] == 0  # a single value is not a grid


def test_fits_that_do_not_converge_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"few_shot": SECTION | {"C": [100.0], "max_iter": 1}, "axes": {"zero_shot": ["enc"]}})
    table = run()
    assert facts()["not_converged"] == (~table["converged"].dropna().astype(bool)).sum() == 14


@pytest.mark.parametrize(
    ("splits", "labels", "reason"),
    [
        (["train", "train", "val", "test"], [1, 1, 0, 1], "needs labelled images of at least 2 classes, found 1"),
        (["train", "train", "test"], [0, 1, 1], "needs labelled images in train, val and test; there are none in val"),
        (["train", "train", "val"], [0, 1, 1], "needs labelled images in train, val and test; there are none in test"),
        (["unlabelled"], [-1], "needs labelled images in train, val and test; there are none in train, val, test"),
    ],
)
def test_splits_that_are_too_small_give_no_rows_and_the_reason(folder: Path, splits: list[str], labels: list[int], reason: str) -> None:
    embed(splits, labels, 2, embedding=blobs(0, labels))
    few_shot.main("enc", "toy")
    table = pq.read_table("data/few_shot/enc-toy.parquet")
    assert table.num_rows == 0
    assert json.loads(table.schema.metadata[b"few_shot"])["not_yet"] == reason
    assert pd.read_csv("plots/few_shot/enc-toy.csv").columns.tolist() == few_shot.SUMMARY
    assert pd.read_parquet("data/few_shot/enc-toy.shots.parquet").empty


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shots", [1, 2, 1], "params.yaml: few_shot.shots = [1, 2, 1]: a value occurs twice"),
        ("shots", [0], "params.yaml: few_shot.shots.0 = 0: input should be greater than or equal to 1"),
        ("seeds", [], "params.yaml: few_shot.seeds = []: tuple should have at least 1 item after validation, not 0"),
        ("seeds", [3, 3], "params.yaml: few_shot.seeds = [3, 3]: a value occurs twice"),
        ("C", [0.0], "params.yaml: few_shot.C.0 = 0.0: input should be greater than 0"),
        ("C", [1e7], "params.yaml: few_shot.C.0 = 10000000.0: input should be less than or equal to 1000000"),
        ("alpha", [-1.0], "params.yaml: few_shot.alpha.0 = -1.0: input should be greater than or equal to 0"),
        ("beta", [], "params.yaml: few_shot.beta = []: tuple should have at least 1 item after validation, not 0"),
    ],
)
def test_wrong_values_are_one_line(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check(few_shot.FewShot, SECTION | {key: value}, "few_shot")
    assert str(caught.value) == message
