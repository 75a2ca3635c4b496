"""The linear probe: fit, sweep, selection on val, refit."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.vectors import unit
from clipstore.measure import calibration, selection
from clipstore.probes.logistic import fit
from clipstore.store import predictions
from stages import linear_probe
from tests.synthetic import blobs, embed, use

SECTION = {"C": [0.01, 1.0, 100.0], "max_iter": 1000}


def test_sweep_is_fitted_on_train_and_measured_on_val() -> None:
    """Val's labels are swapped: a probe trained on train is always wrong on val; one that had seen val would not be."""
    train, val = np.arange(40), np.arange(40, 80)
    labels = np.arange(80) % 2
    vectors = np.concatenate([blobs(0, labels[train].tolist(), 0.05), blobs(1, labels[val].tolist(), 0.05, shift=1)])
    settings = linear_probe.LinearProbe(C=(10.0, 1.0), max_iter=1000)
    table = linear_probe.sweep({"a": vectors, "b": vectors}, labels, train, val, settings, 2)
    assert table.drop(columns="nll").to_dict("list") == {
        "C": [1.0, 10.0, 1.0, 10.0],
        "vectors": ["a", "a", "b", "b"],
        "mean_per_class": [0.0] * 4,
        "converged": [True] * 4,
    }


def test_sweep_measures_mean_per_class_not_top1() -> None:
    """With such a strong penalty all answers are the more common class: right for 9 of 10 val images, but only for one of two classes."""
    labels = np.array([0] * 8 + [1] * 2 + [0] * 9 + [1])
    settings = linear_probe.LinearProbe(C=(1e-9,), max_iter=1000)
    table = linear_probe.sweep({"a": blobs(0, labels.tolist())}, labels, np.arange(10), np.arange(10, 20), settings, 2)
    assert table["mean_per_class"].tolist() == [0.5]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    use(monkeypatch, {"linear_probe": SECTION})
    return tmp_path


SPLITS = ["train"] * 30 + ["val"] * 20 + ["test"] * 20
LABELS = [at % 2 for at in range(70)]
UNEVEN = [int(at % 3 == 0) for at in range(30)]  # labels of train; with a strong penalty all answers are 0


def run() -> predictions.Predictions:
    linear_probe.main("enc", "toy")
    return predictions.read("toy", "linear_probe", "enc")


def test_final_probe_is_fitted_on_train_and_val_and_vals_on_train(folder: Path) -> None:
    raw = blobs(0, LABELS)
    embed(SPLITS, LABELS, 2, embedding=raw)
    written = run()
    normalised = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    vectors = {"embedding_normalised": normalised, "embedding_raw": raw}[written.selected["vectors"]]
    labels, C = np.array(LABELS), written.selected["C"]

    def plain(until: int, start: int, stop: int) -> npt.NDArray[np.float64]:
        model = LogisticRegression(C=C, max_iter=10_000, tol=1e-8).fit(vectors[:until].astype(float), labels[:until])
        probabilities: npt.NDArray[np.float64] = model.predict_proba(vectors[start:stop])
        return probabilities

    assert written.rows["split"].tolist() == SPLITS[30:]
    np.testing.assert_allclose(written.probabilities[:20], plain(30, 30, 50), atol=1e-4)
    np.testing.assert_allclose(written.probabilities[20:], plain(50, 50, 70), atol=1e-4)
    train_only = (plain(30, 50, 70).argmax(axis=1) == labels[50:]).mean()
    assert written.notes["train_only"] == pytest.approx({"top1": train_only, "mean_per_class": train_only})
    assert not np.allclose(plain(30, 50, 70), plain(50, 50, 70), atol=1e-3)  # so the two probes do differ


def test_best_on_val_is_the_choice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"linear_probe": SECTION | {"C": [1e-6, 1.0, 100.0]}})
    labels = UNEVEN + LABELS[30:]
    embed(SPLITS, labels, 2, embedding=blobs(3, labels))
    written = run()
    table = pd.read_csv("plots/linear_probe/enc-toy.csv")
    best = table[(table["C"] == written.selected["C"]) & (table["series"] == written.selected["vectors"])]["mean_per_class"].item()
    assert best == pytest.approx(table["mean_per_class"].max(), abs=1e-6) == pytest.approx(written.notes["val_mean_per_class"], abs=1e-6)
    assert table["mean_per_class"].nunique() > 1  # so the selection is not trivial


def test_notes_name_no_choice_on_test(folder: Path) -> None:
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS))
    assert set(run().notes) == {
        *("train_only", "val_mean_per_class", "val_nll", "tied_on_val"),
        *("converged", "sweep_not_converged", "grid_edge"),
    }


@pytest.mark.parametrize(
    ("separating", "selected"),
    [("embedding", "embedding_normalised"), ("norm", "embedding_raw"), ("features", "features_normalised"), ("length", "features_raw")],
)
def test_vectors_that_tell_the_classes_apart_are_chosen(folder: Path, separating: str, selected: str) -> None:
    """Of four kinds of vectors only the selected one, and the one it is computed from, separate the classes."""
    alike, apart = np.tile([1.0, 0.0], (70, 1)), np.eye(2)[LABELS]
    length = np.where(np.array(LABELS)[:, None] == 1, 10.0, 1.0)
    embedding = {"embedding": apart, "norm": alike * length}.get(separating, alike)
    features = {"features": apart, "length": alike * length}.get(separating, alike)
    embed(SPLITS, LABELS, 2, embedding=embedding, features=features)
    written = run()
    assert written.selected["vectors"] == selected
    assert written.notes["val_mean_per_class"] == 1.0


def test_sweep_is_written_for_every_kind_of_vectors(folder: Path) -> None:
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS), features=blobs(1, LABELS))
    run()
    table = pd.read_csv("plots/linear_probe/enc-toy.csv")
    assert list(table) == ["C", "series", "mean_per_class", "nll", "converged"]
    kinds = ["embedding_normalised", "embedding_raw", "features_normalised", "features_raw"]
    assert table[["series", "C"]].values.tolist() == [[kind, C] for kind in kinds for C in (0.01, 1.0, 100.0)]


def test_without_features_there_are_two_kinds_of_vectors(folder: Path) -> None:
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS))
    run()
    assert set(pd.read_csv("plots/linear_probe/enc-toy.csv")["series"]) == {"embedding_normalised", "embedding_raw"}


def test_small_values_of_C_are_written_exactly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"linear_probe": SECTION | {"C": [1e-8, 2.5e-7, 1.0]}})
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS))
    run()
    assert pd.read_csv("plots/linear_probe/enc-toy.csv")["C"].tolist() == [1e-8, 2.5e-7, 1.0] * 2


WARNING = "is at the edge of linear_probe.C: consider a wider range"


@pytest.mark.parametrize("values", [[1.0, 10.0], [10.0, 1.0]])
def test_best_value_at_the_edge_of_the_grid_is_warned_about(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], values: list[float]
) -> None:
    use(monkeypatch, {"linear_probe": SECTION | {"C": values}})
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS))
    assert run().notes["grid_edge"] is True
    assert WARNING in capsys.readouterr().out


def test_an_end_that_is_better_only_by_its_nll_is_an_edge(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, {"linear_probe": SECTION | {"C": [100.0, 1e5, 1e6]}})
    embed(SPLITS, LABELS, 2, embedding=np.eye(2)[LABELS])
    written = run()
    assert (written.selected["C"], written.notes["grid_edge"], written.notes["tied_on_val"]) == (1e6, True, 6)
    output = capsys.readouterr().out
    assert WARNING in output
    assert "warning: linear_probe enc-toy: 6 of 6 settings of linear_probe.C reach the best accuracy on val (100.0 %)" in output


@pytest.mark.parametrize(("nll", "edge"), [([1.0, 0.5, 0.4], True), ([1.0, 0.4, 0.4], False)])
def test_the_edge_takes_account_of_the_nll(nll: list[float], edge: bool) -> None:
    curve = pd.DataFrame({"C": [1.0, 10.0, 100.0], "mean_per_class": [0.9, 1.0, 1.0], "nll": nll})
    assert linear_probe.at_edge(curve, 100.0) is edge
    assert not linear_probe.at_edge(curve, 10.0)


def test_easy_subsets_do_not_take_the_strongest_penalty() -> None:
    """Three digits are easily told apart: with few val images most penalties answer all of them correctly, even the strongest."""
    pixels, digits = load_digits(return_X_y=True)
    vectors, _ = unit(pixels.astype(np.float32))
    settings = linear_probe.LinearProbe(C=tuple(10.0**exponent for exponent in range(-6, 7)), max_iter=1000)
    strongest, saturated, errors = 0, 0, []
    for seed in range(10):
        random = np.random.default_rng(seed)
        chosen = random.choice(10, 3, replace=False)
        labels = np.concatenate([np.full(60, label) for label in range(3)])
        rows = np.concatenate([random.choice(np.flatnonzero(digits == digit), 60, replace=False) for digit in chosen])
        train, val, test = (np.flatnonzero(part) for part in (np.arange(180) % 6 < 2, np.arange(180) % 6 == 2, np.arange(180) % 6 > 2))
        table = linear_probe.sweep({"a": vectors[rows]}, labels, train, val, settings, 3)
        selected = table.iloc[selection.best(table["mean_per_class"], table["nll"])]
        strongest += int(table["mean_per_class"].iloc[0] == table["mean_per_class"].max())
        saturated += selection.saturated(table["mean_per_class"])
        assert selected["C"] >= 0.1
        probabilities = fit(vectors[rows[train]], labels[train], selected["C"], 1000, 3).probabilities(vectors[rows[test]])
        errors.append(calibration.ece(calibration.reliability(probabilities.astype(float), labels[test], 5)))
    assert strongest >= 3  # of 10, in which the order of the grid would have chosen C = 1e-6, and an error of more than 0.4
    assert saturated >= 5
    assert np.mean(errors) < 0.1


def test_one_value_of_C_has_no_edge(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use(monkeypatch, {"linear_probe": SECTION | {"C": [1.0]}})
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS))
    assert run().notes["grid_edge"] is False
    assert WARNING not in capsys.readouterr().out


def test_best_value_inside_the_grid_is_no_edge(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use(monkeypatch, {"linear_probe": SECTION | {"C": [1e-6, 1.0, 1e6]}})
    labels = UNEVEN + LABELS[30:]
    embed(SPLITS, labels, 2, embedding=blobs(2, labels))
    written = run()
    assert written.selected["C"] == 1.0
    assert written.notes["grid_edge"] is False
    assert WARNING not in capsys.readouterr().out


def test_fits_that_do_not_converge_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"linear_probe": {"C": [1e3, 1e4], "max_iter": 1}})
    embed(SPLITS, LABELS, 2, embedding=blobs(0, LABELS))
    notes = run().notes
    assert (notes["converged"], notes["sweep_not_converged"]) == (False, 4)


def test_a_C_beyond_the_limit_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        check(linear_probe.LinearProbe, {"C": [1.0, 1e7], "max_iter": 1000}, "linear_probe")
    assert str(caught.value) == "params.yaml: linear_probe.C.1 = 10000000.0: input should be less than or equal to 1000000"
