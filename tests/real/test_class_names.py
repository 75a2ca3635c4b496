"""The class names of Flowers-102 and Oxford-IIIT Pet are those of OpenAI's lists."""

import json
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

from clipstore.core.datasets import Flowers, Pets
from clipstore.data import official
from clipstore.encoders.vision import torchvision
from tests.workspace import PROJECT

DATASETS = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]


def test_flowers_have_openais_names_in_the_order_of_their_labels(real_data: Path) -> None:
    theirs = json.loads((real_data / "labels/openai_flowers102.json").read_text())["classes"]
    assert official.flower_class_names(Flowers.model_validate(DATASETS["flowers102"]), torchvision.datasets.Flowers102.classes) == theirs


def test_pets_have_openais_names_one_to_one(real_data: Path) -> None:
    theirs = json.loads((real_data / "labels/openai_oxfordpets.json").read_text())["classes"]
    files = pd.read_csv(real_data / "pets/manifest.csv")
    breeds = sorted(files["class_name"].unique())  # in lower case this is the order of the official labels
    manifest = files.assign(label=files["class_name"].map(breeds.index))
    names = official.pet_class_names(Pets.model_validate(DATASETS["pets"]), manifest)
    assert sorted(names) == theirs
    assert [name.lower() for name in names] == breeds
