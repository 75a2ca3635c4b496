"""The names that the real lists give to the real classes."""

import json
from pathlib import Path

import pandas as pd

from clipstore.core import schema
from clipstore.encoders.vision import torchvision
from stages import download


def entry(kind: str, classes: int) -> schema.Official:
    facts = {"images": {"train": 1, "test": 1}, "classes": classes, "megabytes": 1, "class_names": "openai"}
    return schema.Official.model_validate({"kind": kind} | facts)


def test_flowers_have_openais_names_in_the_order_of_their_labels(real_data: Path) -> None:
    theirs = json.loads((real_data / "labels/openai_flowers102.json").read_text())["classes"]
    assert download.class_names(entry("flowers102", 102), torchvision.datasets.Flowers102.classes, pd.DataFrame()) == theirs


def test_pets_have_openais_names_one_to_one(real_data: Path) -> None:
    theirs = json.loads((real_data / "labels/openai_oxfordpets.json").read_text())["classes"]
    files = pd.read_csv(real_data / "pets/manifest.csv")
    breeds = sorted(files["class_name"].unique())  # in lower case this is the order of the official labels
    manifest = files.assign(label=files["class_name"].map(breeds.index))
    names = download.class_names(entry("pets", 37), [name.title() for name in breeds], manifest)
    assert sorted(names) == theirs
    assert [name.lower() for name in names] == breeds
