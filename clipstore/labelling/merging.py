"""Answers become labels: each is matched with an image of the data set and compared with what is known; all are accepted, or none."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from clipstore.core.datasets import tidied
from clipstore.core.errors import InputError
from clipstore.core.rows import NO_LABEL
from clipstore.data import labels
from clipstore.data.index import Index
from clipstore.data.tree import counted, listed
from clipstore.labelling.answers import Answer


@dataclass(frozen=True)
class Merged:
    """Labels after an import.

    Attributes:
        rows: all labels of the data set, in the columns of the labels file.
        added: the rows that are new or now have a class.
        notes: what was found beside them, a line each, with counts and names.
    """

    rows: pd.DataFrame
    added: pd.DataFrame
    notes: list[str]


@dataclass(frozen=True)
class _Label:
    """What the answers say about one image."""

    name: str
    class_name: str
    sources: tuple[str, ...]


class Images:
    """The images of a data set by SHA-256 and by path."""

    def __init__(self, index: Index) -> None:
        """Take the images whose bytes could be read."""
        rows = index.rows[index.rows["sha256"] != ""]
        self.dataset = index.dataset
        self.name_of: dict[str, str] = dict(zip(rows["sha256"], rows["image_id"], strict=True))
        self._sha256_of: dict[str, str] = {_path(name): sha256 for name, sha256 in zip(rows["image_id"], rows["sha256"], strict=True)}
        given = rows[rows["purpose"].isin(("", "drawn")) & (rows["label"] != NO_LABEL)]
        self.given: dict[str, set[str]] = {}  # class names by the folder or manifest
        for sha256, class_name in zip(given["sha256"], given["class_name"], strict=True):
            self.given.setdefault(sha256, set()).add(class_name)

    def find(self, answer: Answer) -> str | None:
        """Return the SHA-256 of the image that is meant. One that the file gives decides: a changed image is another image."""
        if answer.sha256:
            sha256 = answer.sha256.lower()
            return sha256 if sha256 in self.name_of else None
        for name in (answer.image_id, answer.path):
            inside = f"/{_path(name)}".rpartition(f"/data/raw/{self.dataset}/")[2].lstrip("/")
            if inside in self._sha256_of:
                return self._sha256_of[inside]
        return None


def _path(name: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())


def _class_name(given: str) -> str:
    name = tidied(given)
    return labels.NONE if name.casefold() == labels.NONE else name


def merge(answers: Sequence[Answer], index: Index, known: pd.DataFrame, where: str) -> Merged:
    """Return the labels of the data set with the answers.

    An image that was drawn at random keeps its purpose "test"; all others get "train".

    Args:
        answers: of one file or folder.
        index: of the data set.
        known: its labels so far, in the columns of the labels file.
        where: name of the file or folder in messages.

    Raises:
        InputError: an answer is about an image that is not in the data set, names no class or several, contradicts another one or what is
            known, or states another purpose; one line for each of these, and no answer is accepted.
    """
    images, labels_file = Images(index), labels.path_of(index.dataset)
    before = {row["sha256"]: row | {"class_name": _class_name(row["class_name"])} for row in known.to_dict("records")}
    matched = [(images.find(answer), answer) for answer in answers]
    missing = [answer.name for sha256, answer in matched if sha256 is None]
    if len(missing) == len(answers):
        raise InputError(
            f"{where}: none of its {len(missing)} images is in the data set {index.dataset} ({listed(missing, 3)}); "
            "the file seems to belong to another data set"
        )
    found = [(sha256, answer) for sha256, answer in matched if sha256 is not None]
    problems = _Problems(where)
    problems.add(missing, f"not in the data set {index.dataset}: gone, changed, or of another data set")
    problems.add(
        [f"{images.name_of[sha256]} ({', '.join(answer.classes)})" for sha256, answer in found if len(answer.classes) > 1],
        "with several classes; expected one",
    )
    said = [(sha256, _class_name(answer.classes[0]), answer.source) for sha256, answer in found if len(answer.classes) == 1]
    known_names = {*index.classes, labels.NONE}
    times = Counter(name for _, name, _ in said)
    problems.add(
        [f"{name!r} ({count})" for name, count in times.items() if name not in known_names],
        f"of no class; expected {listed(map(repr, index.classes), 20)} or {labels.NONE!r}",
        "class name",
    )
    new, repeated, disputed = _agreed(said, images.name_of)
    problems.add(disputed, "with two different labels in it")
    problems.add(
        [
            f"{label.name} ({before[sha256]['class_name']!r} there, now {label.class_name!r})"
            for sha256, label in new.items()
            if sha256 in before and before[sha256]["class_name"] not in ("", label.class_name)
        ],
        f"with another label in {labels_file}; correct the wrong one",
    )
    problems.add(
        [
            f"{label.name} ({' and '.join(map(repr, sorted(images.given[sha256])))} there, now {label.class_name!r})"
            for sha256, label in new.items()
            if sha256 in images.given and label.class_name not in images.given[sha256]
        ],
        "with another class in the data set's folder or manifest; correct the wrong one",
    )
    problems.add(
        [
            f"{images.name_of[sha256]} ({answer.purpose!r}, expected {purpose!r})"
            for sha256, answer in found
            if answer.purpose not in ("", purpose := before.get(sha256, {}).get("purpose", "train"))
        ],
        "with a wrong purpose; it is test if `clipstore label sample` drew the image, else train",
    )
    problems.refuse()

    number = labels.next_round(known)
    added, same, in_folder = [], [], []
    for sha256, label in new.items():
        row = before.get(sha256)
        if row and row["class_name"]:
            same.append(label.name)
        elif not row and sha256 in images.given:
            in_folder.append(label.name)
        else:
            purpose = row["purpose"] if row else "train"
            added.append(dict(zip(labels.COLUMNS, (sha256, label.class_name, purpose, ", ".join(label.sources), number), strict=True)))
    notes = [
        f"{counted(len(names), 'answer')} {what}: {listed(names)}"
        for what, names in (
            ("skipped or empty", [images.name_of[sha256] for sha256, answer in found if not answer.classes]),
            (f"{labels.NONE!r}", [label.name for label in new.values() if label.class_name == labels.NONE]),
            ("repeated, and the same", repeated),
            (f"already in {labels_file}", same),
            ("as the data set's folder or manifest says", in_folder),
        )
        if names
    ]
    rows = pd.DataFrame(list((before | {row["sha256"]: row for row in added}).values()), columns=list(labels.COLUMNS))
    return Merged(rows, pd.DataFrame(added, columns=list(labels.COLUMNS)), notes)


def _agreed(said: Sequence[tuple[str, str, str]], name_of: Mapping[str, str]) -> tuple[dict[str, _Label], list[str], list[str]]:
    """Return one label for each image, the images with several equal ones, and those with different ones.

    Args:
        said: SHA-256, class name and source of each answer.
        name_of: the image of each SHA-256.
    """
    new: dict[str, _Label] = {}
    repeated, disputed = [], []
    for sha256, class_name, source in said:
        name, first = name_of[sha256], new.get(sha256)
        if first and first.class_name != class_name:
            disputed.append(f"{name} ({first.class_name!r} by {' and '.join(first.sources)}, {class_name!r} by {source})")
        elif first:
            repeated.append(name)
            new[sha256] = _Label(name, class_name, tuple(dict.fromkeys((*first.sources, source))))
        else:
            new[sha256] = _Label(name, class_name, (source,))
    return new, repeated, disputed


class _Problems:
    """Reasons why a file is refused, a line each."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: list[str] = []

    def add(self, names: Iterable[str], what: str, noun: str = "image") -> None:
        names = list(names)
        if names:
            self.lines.append(f"{self.where}: {counted(len(names), noun)} {what}: {listed(names)}")

    def refuse(self) -> None:
        if self.lines:
            raise InputError("\n".join(self.lines))
