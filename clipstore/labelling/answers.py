"""What people say about images, in the formats it comes in: our own CSV, exports of Label Studio, and folders of class folders.

Label Studio's formats are described in its documentation (Export annotations): JSON has a task with all its annotations, JSON_MIN and CSV
have an object or a row for each annotation.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, TypeAdapter, ValidationError

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.core.rows import UNLABELLED
from clipstore.data import images, records
from clipstore.data.tree import counted, listed, walk

CHOICE = "choice"  # the name of the choices in our labelling configuration
EXPECTED = (
    "expected a CSV file with the columns class_name and sha256, path or image_id, an export of Label Studio as JSON, JSON_MIN or CSV, "
    "or a folder of class folders"
)
_KEYS = ("sha256", "image_id", "path")  # that say which image is meant


@dataclass(frozen=True)
class Answer:
    """One statement about one image.

    Attributes:
        sha256: of the image, "" if it is not given.
        image_id: path relative to the data set's folder, "" if it is not given.
        path: any other path, "" if it is not given.
        classes: the class names given; none if the image was skipped.
        source: who or what gave them.
        purpose: what the file says about it, "" if nothing.
    """

    sha256: str
    image_id: str
    path: str
    classes: tuple[str, ...]
    source: str
    purpose: str = ""

    @property
    def name(self) -> str:
        """What the file calls the image."""
        return self.path or self.image_id or self.sha256 or "(an image without sha256, path and image_id)"


class _Value(BaseModel):
    choices: list[str] = []


class _Result(BaseModel):
    type: str = ""
    from_name: str = ""
    value: _Value = _Value()


class _Annotation(BaseModel):
    was_cancelled: bool = False
    completed_by: int | str | dict[str, Any] | None = None
    result: list[_Result] = []


class _Task(BaseModel):
    data: dict[str, Any]
    annotations: list[_Annotation] | None = None


def read(path: Path) -> list[Answer]:
    """Return the answers in a file or folder, whose format is recognised by its content.

    Raises:
        InputError: it is missing, empty, damaged, or in none of the formats.
    """
    if path.is_dir():
        return _read_folder(path)
    try:
        content = path.read_bytes().strip()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    if not content:
        raise InputError(f"{path}: the file is empty; {EXPECTED}")
    found = _read_json(path) if content.removeprefix(b"\xef\xbb\xbf").startswith((b"[", b"{")) else _read_csv(path)
    if not found:
        raise InputError(f"{path}: no answers in it; {EXPECTED}")
    return found


def _read_folder(root: Path) -> list[Answer]:
    """Read class folders; images are recognised by their bytes, so a copy may have any name. Images in unlabelled/ are skipped ones."""
    files = [path for path in walk(root).files if images.has_suffix(path)]
    stray = [path for path in files if len(path.parts) == 1]
    if stray:
        raise InputError(f"{root}: {counted(len(stray), 'image')} outside the class folders ({listed(stray)}); {EXPECTED}")
    if not files:
        raise InputError(f"{root}: no image in it; {EXPECTED}")
    return [
        Answer(file_sha256(root / path), "", path.as_posix(), () if path.parts[0] == UNLABELLED else (path.parts[0],), root.name)
        for path in files
    ]


def _read_csv(path: Path) -> list[Answer]:
    header, lines = records.read(path)
    rows = [dict(zip(header, fields, strict=True)) for _, fields in lines]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(f"{path}: column {repeated[0]} occurs {header.count(repeated[0])} times; expected once")
    if "annotation_id" in header:
        return _from_annotations(path, rows)
    if "class_name" not in header or not set(_KEYS) & set(header):
        raise InputError(f"{path}: the columns are {listed(name[:40] for name in header)}; {EXPECTED}")
    found = []
    for row in rows:
        sha256, image_id, image = (row.get(key, "").strip() for key in _KEYS)
        classes = tuple(filter(None, [row["class_name"].strip()]))
        found.append(Answer(sha256, image_id, image, classes, row.get("source", "").strip() or path.name, row.get("purpose", "").strip()))
    return found


def _read_json(path: Path) -> list[Answer]:
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: not JSON, or cut off: {error.msg}") from None
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise InputError(f"{path}: not a list of tasks; {EXPECTED}")
    if all("annotation_id" in item for item in document):
        return _from_annotations(path, document)
    try:
        tasks = TypeAdapter(list[_Task]).validate_python(document)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"][1:]))
        raise InputError(f"{path}: task {int(detail['loc'][0]) + 1}: {place}: {detail['msg'].lower()}; {EXPECTED}") from None
    if all(task.annotations is None for task in tasks):
        raise InputError(f"{path}: {counted(len(tasks), 'task')} without annotations; expected what Label Studio exports after labelling")
    found = []
    for task in tasks:
        for annotation in task.annotations or [_Annotation()]:
            classes = () if annotation.was_cancelled else _chosen(annotation.result)
            found.append(_answer(task.data, classes, annotation.completed_by, path))
    return found


def _chosen(results: Sequence[_Result]) -> tuple[str, ...]:
    """Return the choices of an annotation: of our own control, if there are several."""
    choices = [result for result in results if result.type == "choices"]
    own = [result for result in choices if result.from_name == CHOICE] or choices
    return tuple(dict.fromkeys(name for result in own for name in result.value.choices))


def _from_annotations(path: Path, rows: Sequence[dict[str, Any]]) -> list[Answer]:
    """Return the answers in JSON_MIN or CSV: one per annotation, whose choice has the name of its control."""
    if rows and not any(CHOICE in row for row in rows):
        names = [name for name in dict.fromkeys(name for row in rows for name in row)]
        raise InputError(f"{path}: no answers named {CHOICE!r}, only {listed(names, 20)}; expected choices of that name")
    return [_answer(row, _choice(row, path), row.get("annotator"), path) for row in rows]


def _choice(row: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the class names of an annotation in JSON_MIN or CSV: none, one, or several, which are written as {"choices": [...]}."""
    given = row.get(CHOICE) or ""
    try:
        if isinstance(given, str):
            names = _Value.model_validate_json(given).choices if given.startswith('{"choices"') else [given]
        else:
            names = _Value.model_validate(given).choices
    except ValidationError:
        raise InputError(f"{path}: {CHOICE} = {str(given)[:60]!r}: expected the name of a class") from None
    return tuple(name for name in names if name.strip())


def _answer(data: dict[str, Any], classes: tuple[str, ...], annotator: Any, path: Path) -> Answer:
    """Return an answer of Label Studio about the image that the data of its task names."""
    sha256, image_id, image = (str(data.get(key) or "").strip() for key in ("sha256", "image_id", "image"))
    image = parse_qs(urlsplit(image).query).get("d", [image])[0]  # local files are /data/local-files/?d=PATH
    if isinstance(annotator, dict):
        annotator = annotator.get("email") or annotator.get("id")
    number = str(annotator or "").strip()
    return Answer(sha256, image_id, image, classes, f"annotator {number}" if number.isdecimal() else number or path.name)
