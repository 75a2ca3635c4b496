"""Generated splits: shares, seeds and copies."""

from collections import Counter

import pandas as pd
import pytest

from clipstore.data.index import SPLITS
from clipstore.data.splitting import stratified, units
from tests.synthetic import sha256


def images_of(counts: dict[int, int]) -> pd.DataFrame:
    """Return label and sha256 of distinct images, as many of each label as ``counts`` states."""
    return pd.DataFrame([{"label": label, "sha256": sha256(f"{label}/{i}")} for label, count in counts.items() for i in range(count)])


def counts(rows: pd.DataFrame, split: pd.Series) -> dict[tuple[int, str], int]:
    return dict(Counter(zip(rows["label"].tolist(), split.tolist(), strict=True)))


def test_stratified_by_hand() -> None:
    rows = images_of({0: 10, 1: 20, 2: 3})
    split = stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert counts(rows, split) == {
        (0, "train"): 5,
        (0, "val"): 2,
        (0, "test"): 3,
        (1, "train"): 10,
        (1, "val"): 4,
        (1, "test"): 6,
        (2, "train"): 1,
        (2, "val"): 1,  # round(0.6)
        (2, "test"): 1,
    }


@pytest.mark.parametrize("fractions", [{"val": 0.2, "test": 0.3}, {"val": 0.01, "test": 0.01}, {"val": 0.4, "test": 0.4}])
def test_every_class_is_in_every_split(fractions: dict[str, float]) -> None:
    rows = images_of({count: count for count in range(3, 30)})
    pairs = counts(rows, stratified(rows, fractions, "train", seed=0))
    assert {(label, split) for label in range(3, 30) for split in SPLITS} == set(pairs)


def test_one_split_from_train_needs_two_images() -> None:
    rows = images_of({0: 2})
    assert sorted(stratified(rows, {"val": 0.2}, "train", seed=0)) == ["train", "val"]


def test_split_depends_on_the_seed_but_not_on_the_order_of_rows() -> None:
    rows = images_of({0: 40})
    first = stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    shuffled = stratified(rows[::-1], {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert first.tolist() == shuffled.sort_index().tolist()
    assert first.tolist() != stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=1).tolist()


def test_new_image_moves_at_most_one_image_across_each_border() -> None:
    """Both 10 and 11 images give 2 of val and 3 of test, so a new image pushes at most one image across each of the two borders."""
    ten = images_of({0: 10, 1: 10})
    before = stratified(ten, {"val": 0.2, "test": 0.3}, "train", seed=0)
    for new in range(30):
        more = pd.concat([ten, pd.DataFrame([{"label": 0, "sha256": sha256(f"new {new}")}])], ignore_index=True)
        after = stratified(more, {"val": 0.2, "test": 0.3}, "train", seed=0)
        moved = after[:-1] != before
        assert moved.sum() <= 2
        assert not moved[ten["label"] == 1].any()


def test_copies_of_an_image_share_a_split() -> None:
    rows = pd.concat([images_of({0: 10})] * 3, ignore_index=True)
    split = stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert split[:10].tolist() == split[10:20].tolist() == split[20:].tolist()
    assert counts(rows, split) == {(0, "train"): 15, (0, "val"): 6, (0, "test"): 9}


def test_a_class_with_too_few_distinct_images_lacks_a_split() -> None:
    rows = pd.concat([images_of({0: 9}), *[images_of({7: 2})] * 5], ignore_index=True)
    split = stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert set(split[rows["label"] == 0]) == set(SPLITS)
    assert len(set(split[rows["label"] == 7])) == 2


def test_a_picture_in_two_classes_is_in_one_split() -> None:
    rows = images_of({0: 20, 1: 20})
    rows.loc[20:29, "sha256"] = rows.loc[0:9, "sha256"].tolist()
    split = stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert split[20:30].tolist() == split[:10].tolist()
    assert {(label, name) for label in (0, 1) for name in SPLITS} == set(counts(rows, split))
    assert counts(rows, split)[0, "val"] == 4 and counts(rows, split)[0, "test"] == 6


def test_groups_are_not_split_and_the_shares_are_met_as_far_as_they_allow() -> None:
    rows = images_of({0: 60, 1: 60}).assign(group=[f"session {position // 5}" for position in range(120)])
    rows.loc[::7, "group"] = ""
    split = stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    by_group = split[rows["group"] != ""].groupby(rows["group"]).nunique()
    assert len(by_group) == 24 and (by_group == 1).all()
    assert all(abs(counts(rows, split)[label, name] - share) <= 2 for label in (0, 1) for name, share in (("val", 12), ("test", 18)))


def test_images_join_a_unit_by_their_bytes_or_their_group() -> None:
    rows = pd.DataFrame({"sha256": list("aabcd"), "group": ["", "x", "x", "", ""]})
    assert units(rows).tolist() == [0, 0, 0, 1, 2]
    assert units(rows[["sha256"]]).nunique() == 4
