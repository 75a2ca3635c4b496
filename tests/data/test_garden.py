"""The drawn garden: classes, captions, and images that depend only on the seed."""

import itertools
from dataclasses import astuple

import numpy as np
import pytest

from clipstore.data import garden


def pixels(train: int, val: int, test: int, seed: int) -> dict[tuple[str, int, int], bytes]:
    return {(split, label, number): image.tobytes() for split, label, number, image in garden.images(train, val, test, 32, seed)}


def test_no_class_is_captioned() -> None:
    assert len(garden.TASK) >= 24
    assert not set(garden.TASK) & set(garden.CAPTIONED)


def test_every_attribute_of_a_class_is_captioned() -> None:
    for attribute in ("colour", "number", "shape", "centre"):
        assert {getattr(flower, attribute) for flower in garden.TASK} <= {getattr(flower, attribute) for flower in garden.CAPTIONED}


def test_names_and_captions_are_unique_to_a_flower() -> None:
    flowers = garden.TASK + garden.CAPTIONED
    assert len({garden.name(flower) for flower in flowers}) == len(flowers)
    captions = [{garden.caption(flower, np.random.default_rng(seed)) for seed in range(20)} for flower in flowers]
    assert len(set.union(*captions)) == sum(map(len, captions)) > len(flowers)


def test_every_caption_mentions_every_attribute() -> None:
    for flower, seed in itertools.product(garden.CAPTIONED[::40], range(20)):
        words = set(garden.caption(flower, np.random.default_rng(seed)).replace(",", " ").replace(".", " ").replace(":", " ").split())
        assert set(astuple(flower)) <= words


def test_images_have_the_requested_size_and_order() -> None:
    drawn = list(garden.images(1, 0, 2, 32, 0))
    assert [image.size for *_, image in drawn] == [(32, 32)] * 3 * len(garden.TASK)
    assert {image.mode for *_, image in drawn} == {"RGB"}
    assert [key for *key, _ in drawn[:2]] == [["train", 0, 0], ["train", 1, 0]]
    assert [key for *key, _ in drawn[-2:]] == [["test", len(garden.TASK) - 1, 0], ["test", len(garden.TASK) - 1, 1]]


def test_the_seed_determines_the_pixels() -> None:
    first = pixels(1, 1, 1, seed=0)
    assert first == pixels(1, 1, 1, seed=0)
    assert not set(first.values()) & set(pixels(1, 1, 1, seed=1).values())
    assert len(set(first.values())) == len(first)


def test_more_images_leave_the_others_unchanged() -> None:
    few, more = pixels(1, 1, 1, seed=0), pixels(2, 1, 3, seed=0)
    assert few.items() < more.items()
    assert len(more) == 2 * len(few)


@pytest.mark.parametrize("attribute", ["colour", "number", "shape", "centre"])
def test_every_attribute_is_visible(attribute: str) -> None:
    """With the same random generator, changing a single attribute changes the pixels."""
    words = {"colour": "red", "number": "five", "shape": "round", "centre": "yellow"}
    other = words | {attribute: {"colour": "blue", "number": "six", "shape": "narrow", "centre": "brown"}[attribute]}
    first, second = (
        np.asarray(garden.draw(garden.Flower(**attributes), np.random.default_rng(0), 64)).astype(int) for attributes in (words, other)
    )
    assert (abs(first - second).max(axis=2) > 40).sum() > 20
