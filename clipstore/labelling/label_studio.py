"""Files for Label Studio (labelstud.io): the labelling configuration of a data set's classes, and tasks with pre-annotations.

The server reads local images if LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED is true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is the
project's folder.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from clipstore.data.labels import NONE
from clipstore.labelling.sheets import Entry

FROM, TO = "choice", "image"  # the names of the control and of the object that it labels


def config(classes: Sequence[str]) -> str:
    """Return the labelling configuration: one choice for each class, and one for an image that shows none of them."""
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in (*classes, NONE))
    return (
        f'<View>\n  <Image name="{TO}" value="$image"/>\n  <Choices name="{FROM}" toName="{TO}" choice="single">\n'
        f"{choices}\n  </Choices>\n</View>\n"
    )


def tasks(entries: Sequence[Entry], model: str) -> list[dict[str, Any]]:
    """Return one task per image; one with a guess has it as its pre-annotation, made by ``model``."""
    return [_task(entry, model) for entry in entries]


def _task(entry: Entry, model: str) -> dict[str, Any]:
    data = {"image": f"/data/local-files/?d={quote(entry.path)}", "image_id": entry.image_id, "sha256": entry.sha256}
    if not entry.guess:
        return {"data": data}
    choice = {"id": "guess", "from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": [entry.guess]}}
    prediction: dict[str, Any] = {"model_version": model, "result": [choice]}
    if entry.confidence is not None:
        prediction["score"] = round(entry.confidence, 4)
    return {"data": data, "predictions": [prediction]}


def dumps(entries: Sequence[Entry], model: str) -> str:
    """Return the tasks as the JSON text that Label Studio imports."""
    return json.dumps(tasks(entries, model), indent=2, ensure_ascii=False) + "\n"
