"""Label Studio's configuration and tasks."""

import json
from xml.etree import ElementTree

from clipstore.data.labels import NONE
from clipstore.labelling import label_studio
from clipstore.labelling.sheets import Entry

CLASSES = ["oak", 'a "b" & <c>']


def test_the_configuration_has_every_class_and_none_of_these() -> None:
    root = ElementTree.fromstring(label_studio.config(CLASSES))
    assert [choice.get("value") for choice in root.iter("Choice")] == [*CLASSES, NONE]
    choices, image = root.find("Choices"), root.find("Image")
    assert choices is not None and image is not None
    assert choices.attrib == {"name": "choice", "toName": image.get("name"), "choice": "single"} and image.get("value") == "$image"


def test_a_task_names_the_image_and_its_guess() -> None:
    entry = Entry("a/1 & 2.png", "data/raw/toy/a/1 & 2.png", "ab", CLASSES[1], 0.91234567, "typical")
    assert label_studio.tasks([entry], "linear_probe enc") == [
        {
            "data": {"image": "/data/local-files/?d=data/raw/toy/a/1%20%26%202.png", "image_id": "a/1 & 2.png", "sha256": "ab"},
            "predictions": [
                {
                    "model_version": "linear_probe enc",
                    "result": [
                        {"id": "guess", "from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": [CLASSES[1]]}}
                    ],
                    "score": 0.9123,
                }
            ],
        }
    ]


def test_a_task_without_guess_has_no_prediction() -> None:
    tasks = json.loads(label_studio.dumps([Entry("a.png", "data/raw/toy/a.png", "ab")], ""))
    assert [sorted(task) for task in tasks] == [["data"]]
