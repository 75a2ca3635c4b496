"""Photographs filed as a person has them give the figures of the same photographs in a clean folder, and every difference is counted."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipstore.core.datasets import Folder
from clipstore.data import images
from clipstore.data import index as index_file
from clipstore.probes.logistic import fit_path
from clipstore.probes.neighbours import NearestNeighbours
from clipstore.store import embeddings
from stages import embed_images, index
from tests import photographs, project

CLASSES = 6
TURNED, COPIES, HEICS = 8, 10, 3
SUFFIXES = (".JPG", ".jpeg", ".JPE", ".jfif")


def turned(path: Path, target: Path) -> None:
    """Store a photograph sideways, without loss, with the EXIF orientation that turns it upright."""
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    Image.open(path).convert("RGB").transpose(Image.Transpose.ROTATE_90).save(target, exif=exif)


def file_clean(rows: list[dict[str, str]], source: Path, root: Path) -> None:
    for row in rows:
        target = root / row["split"] / row["class_name"] / Path(row["path"]).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / row["path"], target)


def file_as_a_person_does(rows: list[dict[str, str]], source: Path, root: Path) -> None:
    """File the same photographs nested, with mixed suffixes, some turned, some as HEIC, with copies, thumbnails and notes among them."""
    images.read_heif()
    folders = {"train": "Train", "val": "validation", "test": "TEST"}
    number_of_split: Counter[str] = Counter()
    for row in rows:
        number = number_of_split[row["split"]]
        number_of_split[row["split"]] += 1
        folder = root / folders[row["split"]] / f"{row['class_name']} " / ("2023/spring", "2024")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        photo, stem = source / row["path"], Path(row["path"]).stem
        if row["split"] == "test" and number < TURNED:
            turned(photo, folder / f"{stem}.png")
        elif row["split"] == "train" and number < HEICS:
            Image.open(photo).convert("RGB").save(folder / f"{stem}.HEIC", quality=95)
        else:
            shutil.copy(photo, folder / f"{stem}{SUFFIXES[number % len(SUFFIXES)]}")
        (folder / "@eaDir" / photo.name).mkdir(parents=True)
        Image.open(photo).convert("RGB").resize((80, 64)).save(folder / "@eaDir" / photo.name / "SYNOPHOTO_THUMB_M.jpg")
    names = sorted({row["class_name"] for row in rows})
    train = [row for row in rows if row["split"] == "train" and row["class_name"] == names[0]][-COPIES:]
    for row in train:
        shutil.copy(source / row["path"], root / "Train" / f"{names[1]} " / f"again {Path(row['path']).name}")
    (root / "Train" / f"{names[0]} " / "notes.txt").write_text("seen in the park")


def figures(dataset: str) -> dict[str, float]:
    """Return top-1 on test of the nearest neighbour and of a linear probe, both trained on train + val without the copies."""
    embedded = embeddings.read_images("mine", dataset)
    fitted, test = embedded.of("train", "val"), embedded.of("test")
    fitted = fitted[~embedded.rows["image_id"].str.contains("/again ").to_numpy()[fitted]]
    labels = embedded.labels
    nearest = NearestNeighbours(embedded.embedding[fitted]).search(embedded.embedding[test], 1).positions[:, 0]
    (probe,) = fit_path(embedded.embedding[fitted], labels[fitted], [100.0], 1000, len(embedded.provenance["classes"]))
    answers = probe.probabilities(embedded.embedding[test]).argmax(axis=1)
    return {"nearest": float(np.mean(labels[fitted][nearest] == labels[test])), "probe": float(np.mean(answers == labels[test]))}


def test_refiled_pets(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIP_FEATURE_STORE_CACHE", str(tmp_path / "cache"))
    table = pd.read_csv(real_data / "pets/manifest.csv", dtype=str, keep_default_na=False)
    records = table[table["class_name"].isin(sorted(table["class_name"].unique())[:CLASSES])].to_dict("records")
    rows = [{str(key): str(value) for key, value in record.items()} for record in records]
    file_clean(rows, real_data / "pets", Path("data/raw/clean"))
    file_as_a_person_does(rows, real_data / "pets", Path("data/raw/messy"))
    project.save_weights(photographs.mobilenet(real_data))
    settings = embed_images.EmbedImages(batch_size=32, precision="float32", vectors="float32", resize="pillow", jpeg_scaling=False)
    monkeypatch.setattr(embed_images, "section", lambda *_: settings)
    for name in ("clean", "messy"):
        index_file.write(index.make(name, Folder(kind="folder"), Path("data/raw") / name, project.SETTINGS))
        embed_images.main("mine", name)

    clean, messy = index_file.read("clean"), index_file.read("messy")
    assert messy.classes == clean.classes
    assert set(messy.rows["status"]) == {"ok"}
    assert Counter(messy.rows["split"]) == Counter(clean.rows["split"]) + Counter({"train": COPIES})
    assert messy.notes["turned"] == clean.notes["turned"] + TURNED
    assert messy.notes["passed_over"] == {"@eaDir": len(rows)}
    assert messy.notes["other_files"] == {".txt": 1}
    assert [line for line in messy.notes["warnings"] if line not in clean.notes["warnings"]] == [
        f"{COPIES} pictures in more than one class, byte for byte",
    ]
    expected, found = figures("clean"), figures("messy")
    print(expected, found)
    assert found == pytest.approx(expected, abs=0.01)
