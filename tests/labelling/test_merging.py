"""Answers become labels; a wrong one refuses all of them in a line that counts and names, and purposes are never swapped."""

from collections.abc import Sequence

import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.data import labels
from clipstore.data.index import Index
from clipstore.labelling.answers import Answer
from clipstore.labelling.merging import Merged, merge
from tests.synthetic import sha256
from tests.unlabelled import label_rows, make, sha256_of

NAMES = ["a.png", "b.png", "c.png", "in/d.png"]
NOTHING = label_rows()


@pytest.fixture
def own(project: object) -> Index:
    """Four images; the folder says that c.png is a tulip."""
    return make(NAMES, {"c.png": "tulip"})


def of(name: str, *classes: str, source: str = "me", purpose: str = "", sha256: str = "") -> Answer:
    return Answer(sha256, "", name, classes, source, purpose)


def merged(answers: Sequence[Answer], own: Index, known: pd.DataFrame = NOTHING) -> Merged:
    return merge(answers, own, known, "f.csv")


def message(answers: Sequence[Answer], own: Index, known: pd.DataFrame = NOTHING) -> str:
    with pytest.raises(InputError) as caught:
        merged(answers, own, known)
    return str(caught.value)


def test_new_labels_train_and_drawn_images_test(own: Index) -> None:
    a, b, d = (sha256_of(own, name) for name in ("a.png", "b.png", "in/d.png"))
    known = label_rows((d, "rose", "train", "me", 3), (b, "", "test", "drawn", 4))
    found = merged([of("a.png", "rose"), of("b.png", " None of These "), of("in/d.png", "rose")], own, known)
    assert found.rows.values.tolist() == [
        [d, "rose", "train", "me", 3],
        [b, labels.NONE, "test", "me", 5],
        [a, "rose", "train", "me", 5],
    ]
    assert found.added["sha256"].tolist() == [a, b]
    assert found.notes == [
        "1 answer 'none of these': b.png",
        "1 answer already in data/labels/own.csv: in/d.png",
    ]


@pytest.mark.parametrize(
    ("image_id", "path"),
    [
        ("in/d.png", ""),
        ("", "in/d.png"),
        ("", "./in/d.png"),
        ("", "in\\d.png"),
        ("", "data/raw/own/in/d.png"),
        ("", "/home/ann/project/data/raw/own/in/d.png"),
        ("17", "photos/data/raw/own/in/d.png"),
    ],
)
def test_an_image_is_found_by_any_of_its_names(own: Index, image_id: str, path: str) -> None:
    found = merged([Answer("", image_id, path, ("rose",), "me")], own)
    assert found.rows["sha256"].tolist() == [sha256_of(own, "in/d.png")]


def test_the_sha256_decides_even_if_the_path_exists(own: Index) -> None:
    assert merged([of("a.png", "rose", sha256=sha256_of(own, "b.png").upper())], own).rows["sha256"].tolist() == [sha256_of(own, "b.png")]
    lines = message([of("a.png", "rose", sha256=sha256("before it was edited")), of("b.png", "rose")], own)
    assert lines == "f.csv: 1 image not in the data set own: gone, changed, or of another data set: a.png"


def test_names_in_another_unicode_form_are_the_same(project: object) -> None:
    own = make(["Gl\u00fccksklee.png"])
    assert len(merged([of("Glu\u0308cksklee.png", "rose")], own).rows) == 1


def test_copies_of_a_picture_have_one_label(project: object) -> None:
    own = make(["a.png"])
    copies = Index("own", pd.concat([own.rows, own.rows.assign(image_id="copy.png")]), own.notes)
    found = merged([of("a.png", "rose"), of("copy.png", "rose")], copies)
    assert len(found.rows) == 1
    assert "images with two different labels" not in message([of("a.png", "rose"), of("copy.png", "tulip")], copies)
    assert " 1 image with two different labels in it: " in message([of("a.png", "rose"), of("copy.png", "tulip")], copies)


def test_annotators_who_agree_count_once_and_what_is_left_out_is_counted(own: Index) -> None:
    answers = [of("a.png", "rose"), of("a.png", "rose", source="Ann"), of("a.png", "rose"), of("b.png"), of("c.png", "tulip")]
    found = merged(answers, own)
    assert found.rows.values.tolist() == [[sha256_of(own, "a.png"), "rose", "train", "me, Ann", 1]]
    assert found.notes == [
        "1 answer skipped or empty: b.png",
        "2 answers repeated, and the same: a.png, a.png",
        "1 answer as the data set's folder or manifest says: c.png",
    ]


def test_the_same_answers_again_change_nothing(own: Index) -> None:
    answers = [of("a.png", "rose"), of("b.png", labels.NONE)]
    first = merged(answers, own)
    again = merged(answers, own, first.rows)
    assert again.added.empty
    pd.testing.assert_frame_equal(again.rows, first.rows)


def test_every_kind_of_mistake_is_one_line_and_nothing_is_accepted(own: Index) -> None:
    known = label_rows((sha256_of(own, "b.png"), "rose", "train", "me", 1))
    answers = [
        of("gone.png", "rose"),
        of("a.png", "rose"),
        of("a.png", "tulip", source="Ann"),
        of("b.png", "tulip"),
        of("c.png", "rose"),
        of("in/d.png", "Rose"),
        of("in/d.png", "rose", "tulip"),
    ]
    assert message(answers, own, known).splitlines() == [
        "f.csv: 1 image not in the data set own: gone, changed, or of another data set: gone.png",
        "f.csv: 1 image with several classes; expected one: in/d.png (rose, tulip)",
        "f.csv: 1 class name of no class; expected 'rose', 'tulip' or 'none of these': 'Rose' (1)",
        "f.csv: 1 image with two different labels in it: a.png ('rose' by me, 'tulip' by Ann)",
        "f.csv: 1 image with another label in data/labels/own.csv; correct the wrong one: b.png ('rose' there, now 'tulip')",
        "f.csv: 1 image with another class in the data set's folder or manifest; correct the wrong one: c.png ('tulip' there, now 'rose')",
    ]


def test_a_file_of_another_data_set_is_recognised(own: Index) -> None:
    assert message([of("x.png", "rose"), of("y.png")], own) == (
        "f.csv: none of its 2 images is in the data set own (x.png, y.png); the file seems to belong to another data set"
    )


@pytest.mark.parametrize(("name", "purpose", "expected"), [("a.png", "test", "train"), ("b.png", "train", "test"), ("a.png", "x", "train")])
def test_purposes_are_never_swapped(own: Index, name: str, purpose: str, expected: str) -> None:
    known = label_rows((sha256_of(own, "b.png"), "", "test", "drawn", 1))
    assert message([of(name, "rose", purpose=purpose)], own, known) == (
        "f.csv: 1 image with a wrong purpose; it is test if `clipstore label sample` drew the image, else train: "
        f"{name} ({purpose!r}, expected {expected!r})"
    )
    assert merged([of(name, "rose", purpose=expected)], own, known).added["purpose"].tolist() == [expected]


def test_a_drawn_image_that_a_folder_labels_since_is_tested_on(own: Index) -> None:
    drawn = label_rows((sha256_of(own, "c.png"), "", "test", "drawn", 1))
    after = Index("own", own.rows.assign(purpose=["", "", "drawn", ""]), own.notes)
    assert merged([of("c.png", "tulip")], after, drawn).rows[["class_name", "purpose"]].values.tolist() == [["tulip", "test"]]
    assert "1 image with another class in the data set's folder" in message([of("c.png", "rose")], after, drawn)
