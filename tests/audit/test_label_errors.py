"""Planted wrong labels are found, correct ones are not reported, and labels that cannot be judged are marked."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from clipstore.audit import label_errors
from clipstore.core.vectors import unit
from tests.synthetic import clusters

FOLDS = label_errors.Folds(folds=5, max_iter=1000, seed=0)


def issues(
    labels: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32], groups: list[int] | None = None
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Return the likely label errors and which labels were judged."""
    group = np.arange(len(labels)) if groups is None else np.array(groups)
    shares, judged = label_errors.out_of_sample(vectors, labels, group, FOLDS, 10.0, 8)
    return label_errors.find(labels, shares, judged), judged


def test_planted_wrong_labels_are_found_with_their_class_and_clean_labels_are_not() -> None:
    true = np.arange(120) % 4
    vectors = clusters(true)
    clean, judged = issues(true, vectors)
    assert len(clean) == 0
    assert judged.all()

    given = true.copy()
    given[[7, 30, 64]] = (given[[7, 30, 64]] + 1) % 4
    wrong, _ = issues(given, vectors)
    assert dict(zip(wrong["position"], wrong["suggested"], strict=True)) == {at: true[at] for at in (7, 30, 64)}
    assert wrong["score"].is_monotonic_increasing
    assert (wrong["score"] < 0.5).all()


def test_an_image_is_judged_by_a_probe_trained_without_its_group() -> None:
    """Three copies with a wrong label, far from all other images: each copy would confirm the others' label."""
    labels = np.array([0, 1] * 30 + [1] * 3)
    vectors = clusters(labels)
    vectors[60:] = unit(np.eye(8)[[0] * 3].astype(np.float32) + 0.3 * np.eye(8)[[5] * 3].astype(np.float32))[0]
    apart = label_errors.out_of_sample(vectors, labels, np.arange(63), FOLDS, 1000.0, 8)[0]
    together = label_errors.out_of_sample(vectors, labels, np.array([*range(60), 60, 60, 60]), FOLDS, 1000.0, 8)[0]
    assert apart[60:, 1].mean() > 0.5
    assert (together[60:, 1] < 0.1).all()


def test_probabilities_cover_all_classes_and_images() -> None:
    labels = np.arange(40) % 2
    shares, judged = label_errors.out_of_sample(clusters(labels), labels, np.arange(40), FOLDS, 1.0, 3)
    assert shares.shape == (40, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert (shares[:, 2] == 0).all()
    assert judged.all()


def test_a_class_with_one_image_is_not_judged_and_one_with_two_is() -> None:
    labels = np.array([0, 1] * 20 + [2] + [3, 3])
    wrong, judged = issues(labels, clusters(labels))
    assert np.flatnonzero(~judged).tolist() == [40]
    assert len(wrong) == 0


def test_a_class_with_one_group_is_not_judged() -> None:
    labels = np.array([0, 1] * 20 + [2, 2, 2])
    _, judged = issues(labels, clusters(labels), [*range(40), 40, 40, 40])
    assert np.flatnonzero(~judged).tolist() == [40, 41, 42]


@pytest.mark.parametrize("labels", [[0], [0] * 12, [0, 1], [0, 1, 2, 3]])
def test_with_too_few_classes_or_images_no_label_is_judged(labels: list[int]) -> None:
    wrong, judged = issues(np.array(labels), clusters(np.array(labels)))
    assert not judged.any()
    assert wrong.columns.tolist() == ["position", "suggested", "score"]
    assert len(wrong) == 0
