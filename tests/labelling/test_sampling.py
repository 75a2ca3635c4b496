"""The draw is uniform, reproducible, and takes each picture once."""

from collections import Counter

import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.data.index import Index
from clipstore.labelling.sampling import draw, waiting
from tests.unlabelled import label_rows, make, sha256_of

NAMES = [f"{number}.png" for number in range(8)]


@pytest.fixture
def own(project: object) -> Index:
    """Eight images: 0 has a class, 1 is labelled by a person in the index, 2 is unreadable."""
    found = make(NAMES, {"0.png": "rose"})
    rows = found.rows.copy()
    rows.loc[rows["image_id"] == "1.png", "purpose"] = "train"
    rows.loc[rows["image_id"] == "2.png", "status"] = "truncated"
    return Index("own", rows, found.notes)


def test_every_free_image_is_equally_likely(own: Index) -> None:
    known = label_rows((sha256_of(own, "3.png"), "rose", "train", "me", 2))
    times = Counter(sha256 for seed in range(100) for sha256 in draw(own, known, 2, seed)["sha256"][1:])
    assert set(times) == {sha256_of(own, name) for name in ("4.png", "5.png", "6.png", "7.png")}
    assert all(30 < count < 70 for count in times.values())  # 50 expected, standard deviation 5


def test_a_draw_is_appended_as_test_without_a_class(own: Index) -> None:
    known = label_rows((sha256_of(own, "3.png"), "rose", "train", "me", 2))
    rows = draw(own, known, 3, 5)
    pd.testing.assert_frame_equal(rows[:1], known)
    assert rows[1:][["class_name", "purpose", "source", "round"]].drop_duplicates().values.tolist() == [
        ["", "test", "clipstore label sample, seed 5", 3]
    ]
    assert rows["sha256"].is_unique
    pd.testing.assert_frame_equal(draw(own, known, 3, 5), rows)
    assert set(draw(own, rows, 1, 5)["sha256"]) > set(rows["sha256"])  # a second draw adds others
    assert waiting(own, rows)["rank"].tolist() == [1, 2, 3]
    assert waiting(own, rows)["sha256"].tolist() == rows["sha256"][1:].tolist()
    assert waiting(own, rows.assign(class_name="rose")).empty


def test_copies_count_as_one_picture(project: object) -> None:
    found = make(["a.png"])
    own = Index("own", pd.concat([found.rows, found.rows.assign(image_id="copy.png", path="data/raw/own/copy.png")]), found.notes)
    assert waiting(own, draw(own, label_rows(), 1, 0))["path"].tolist() == ["data/raw/own/a.png"]
    with pytest.raises(InputError, match=r"^own: N = 2: expected at most 1, the number of different images "):
        draw(own, label_rows(), 2, 0)


def test_a_copy_of_a_labelled_image_is_not_drawn(project: object) -> None:
    found = make(["a.png", "b.png"], {"a.png": "rose"})
    copy = found.rows[found.rows["image_id"] == "b.png"].assign(image_id="copy.png", sha256=sha256_of(found, "a.png"))
    own = Index("own", pd.concat([found.rows, copy]), found.notes)
    with pytest.raises(InputError, match=r"^own: N = 2: expected at most 1, "):
        draw(own, label_rows(), 2, 0)


def test_a_drawn_image_that_is_gone_is_not_listed(own: Index) -> None:
    rows = draw(own, label_rows(), 4, 0)
    rest = Index("own", own.rows[own.rows["sha256"] != rows["sha256"][0]], own.notes)
    assert waiting(rest, rows)["sha256"].tolist() == rows["sha256"][1:].tolist()


def test_nothing_is_left_to_draw(project: object) -> None:
    own = make(["a.png", "b.png"], {"a.png": "rose"})
    drawn = draw(own, label_rows(), 1, 0)
    with pytest.raises(InputError, match=r"^own: all of its 2 images are labelled or drawn already$"):
        draw(own, drawn, 1, 0)
    pd.testing.assert_frame_equal(draw(own, drawn, 0, 0), drawn)
