"""A few images per class: reproducible from the seed, nested and counted."""

import numpy as np
import pandas as pd

from clipstore.probes import shots
from tests.synthetic import image_rows

SPLITS = ["train"] * 12 + ["val"] * 6 + ["test"] * 4
LABELS = [i % 2 for i in range(22)]
ROWS = image_rows(SPLITS, LABELS)


def drawn(rows: pd.DataFrame, seed: int, number: int) -> set[str]:
    return set(rows["image_id"][shots.draw(rows, seed) <= number])


def test_every_class_of_every_split_is_numbered_from_1() -> None:
    numbered = ROWS.assign(shot=shots.draw(ROWS, 0))
    for (split, _), group in numbered.groupby(["split", "label"]):
        assert sorted(group["shot"]) == list(range(1, {"train": 6, "val": 3, "test": 2}[str(split)] + 1))


def test_draw_depends_only_on_seed_and_content() -> None:
    original = shots.draw(ROWS, 0)
    shuffled = ROWS.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(shots.draw(shuffled, 0).sort_index(), original)
    renamed = ROWS.assign(image_id=[f"other/{i:03}" for i in range(len(ROWS))])
    pd.testing.assert_series_equal(shots.draw(renamed, 0), original)
    assert drawn(ROWS, 0, 2) != drawn(ROWS, 1, 2)


def test_draw_has_not_changed() -> None:
    """Computed with sha256sum; another order would change the experiment for the same seed."""
    assert ROWS["image_id"][(shots.draw(ROWS, 0) == 1) & (ROWS["split"] == "train")].tolist() == ["1/003.png", "0/006.png"]


def test_a_new_image_does_not_change_the_order_of_the_others() -> None:
    more = image_rows([*SPLITS, "train"], [*LABELS, 0])
    before, after = shots.draw(ROWS, 0), shots.draw(more, 0)[: len(ROWS)]
    of_class = (ROWS["split"] == "train") & (ROWS["label"] == 0)
    assert before[of_class].sort_values().index.tolist() == after[of_class].sort_values().index.tolist()
    assert after[~of_class].tolist() == before[~of_class].tolist()


def test_copies_are_one_picture() -> None:
    """Class 0 has six training images of three pictures; the first copy by name is drawn, and no number of shots takes another."""
    digests = ROWS["sha256"].tolist()
    digests[2] = digests[4] = digests[0]
    digests[10] = digests[8]
    copies = ROWS.assign(sha256=digests)
    ranks = shots.draw(copies, 0)
    assert ranks.tolist() == shots.draw(copies.iloc[::-1], 0).sort_index().tolist()
    assert [at for at in range(0, 12, 2) if ranks[at] == shots.COPY] == [2, 4, 10]
    for seed in range(5):
        for number in range(1, 7):
            drawn = copies[(shots.draw(copies, seed) <= number) & (copies["split"] == "train")]
            assert drawn.groupby("label")["sha256"].agg(["size", "nunique"]).to_numpy().tolist() == [[min(number, 3)] * 2, [number] * 2]


def test_copies_count_once_in_the_number_of_images() -> None:
    rows = image_rows(["train"] * 6 + ["val"] * 2, [0, 0, 0, 0, 1, 1, 0, 1])
    rows = rows.assign(sha256=[rows["sha256"][0]] * 3 + rows["sha256"].tolist()[3:])
    assert shots.fewer_than_all([1, 2, 3], rows) == [1]
    assert shots.scarce(rows, 2, 2) == {"train": 0, "val": 2}
    assert shots.scarce(rows, 3, 2) == {"train": 2, "val": 2}


def test_fewer_shots_are_a_subset_of_more() -> None:
    assert drawn(ROWS, 0, 1) < drawn(ROWS, 0, 2) < drawn(ROWS, 0, 4)


def test_numbers_of_shots_that_use_all_images_are_left_out() -> None:
    assert shots.fewer_than_all([8, 1, 6, 5], ROWS) == [1, 5]
    assert shots.fewer_than_all([8], ROWS) == []


def test_classes_with_too_few_images_are_counted() -> None:
    rows = image_rows(["train"] * 5 + ["val"] * 2, [0, 0, 0, 1, 1, 0, 1])
    assert shots.scarce(rows, 3, 3) == {"train": 2, "val": 3}  # the third class has no images
    assert shots.scarce(rows, 1, 2) == {"train": 0, "val": 0}
    assert np.all(shots.draw(rows, 0) <= 3)
