"""The report of a tiny invented project: one class is named like a script, one in Arabic."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.core.vectors import unit
from clipstore.data import index
from clipstore.measure import comparisons, intervals
from clipstore.report import sections
from clipstore.store import embeddings, predictions
from clipstore.store.answers import read as read_answers
from clipstore.store.answers import write as write_answers
from clipstore.store.approaches import APPROACHES
from clipstore.store.predictions import Predictions
from stages import answers, audit, report, score
from tests.synthetic import blobs, encoded, image_rows, logits_of, on_axis, picture, use
from tests.workspace import PROJECT

SECTIONS = [
    "results",
    "curves",
    "sweeps",
    "few-shot",
    "prompts",
    "calibration",
    "confusion",
    "gallery",
    "audit",
    "tokenizers",
    "networks",
    "provenance",
    "limits",
    "application",
]
CLASSES = ["<script>alert(1)</script>", "زهرة حمراء"]
SPLITS, LABELS = ["train"] * 8 + ["val"] * 4 + ["test"] * 8, [0, 1] * 10
EMPTY: dict[str, Any] = {
    axis: [] for axis in ("download", "datasets", "weights", "encoders", "zero_shot", "finetune", "scratch", "corpora")
}
TOY = {"datasets": ["toy"], "weights": ["enc"], "encoders": ["enc"], "zero_shot": ["enc"]}  # its axes
PARAMS: dict[str, Any] = {
    "score": {"threshold": 0.6, "bins": 2, "worst": 20},
    "audit": {"neighbors": 2, "min_agreement": 0.85, "folds": 2, "max_iter": 100, "seed": 0, "outliers": 3},
    "report": {"thumbnail_size": 64, "gallery": 2, "findings": 3, "answers": 20},
    "datasets": {"toy": {"kind": "digits"}},
    "encoders": {"enc": {"source": "timm", "architecture": "vit_tiny_patch16_224"}},
}


class Page(HTMLParser):
    """All elements with their attributes, in document order, and the text."""

    def __init__(self, path: Path = report.TARGET) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


def start(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``root`` the working folder: a project with an essay and without a git repository."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    Path("report").mkdir()
    shutil.copytree(PROJECT / ".dvc/plots", ".dvc/plots")
    Path("report/application.md").write_text("# An application\n\nPlants, <b>named</b>.\n")
    Path("params.yaml").write_text("seed: 0  # <made up>\n")
    csv("data/label_next/enc-toy.csv", [], ["rank", "path", "sha256", "guess", "confidence", "reason"])
    csv("plots/simulation/enc-toy.csv", [], ["labels", "strategy", "mean_per_class", "std", "seeds"])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with an essay."""
    start(tmp_path, monkeypatch)
    return tmp_path


def declare(monkeypatch: pytest.MonkeyPatch, **axes: list[str]) -> None:
    use(monkeypatch, PARAMS | {"axes": EMPTY | axes})


def make_index(splits: list[str], labels: list[int], classes: list[str], purposes: Sequence[str] = ()) -> index.Index:
    rows = image_rows(splits, labels, purposes).assign(class_name=["" if label == NO_LABEL else classes[label] for label in labels])
    for at, row in rows.iterrows():
        data = encoded(picture(int(str(at)), (40, 30)), "PNG")
        Path(row["path"]).parent.mkdir(parents=True, exist_ok=True)
        Path(row["path"]).write_bytes(data)
        rows.loc[at, "sha256"] = hashlib.sha256(data).hexdigest()
    indexed = index.Index("toy", rows, {"classes": classes})
    index.write(indexed)
    return indexed


def predict(indexed: index.Index, stage: str, name: str, wrong: int, classes: list[str], **facts: Any) -> None:
    """Write predictions of all images but those of train; the last ``wrong`` are wrong. Images without a class get the first."""
    rows = indexed.rows[indexed.rows["split"] != "train"][["image_id", "split", "label"]].reset_index(drop=True)
    right = np.arange(len(rows)) < len(rows) - wrong
    shares = np.full((len(rows), len(classes)), 0.2 / max(1, len(classes) - 1), np.float32)
    actual = np.maximum(rows["label"], 0)
    answers = np.where(right, actual, (actual + 1) % len(classes))
    shares[np.arange(len(rows)), answers] = 0.8 if len(classes) > 1 else 1.0
    predictions.write("toy", Predictions(stage, name, rows, logits_of(shares), classes, 0, indexed.digest, "c0", **facts))


def csv(path: str, rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=list(columns) or None).to_csv(path, index=False)


def compare(prompts: list[str]) -> None:
    """Write an accuracy of 0.5 for each prompt and the ensemble."""
    lines = [(template, split) for template in (*prompts, "ensemble") for split in ("val", "test")]
    accuracy = {"top1": 0.5, "mean_per_class": 0.5}
    csv("plots/zero_shot/enc-toy.csv", [{"template": template, "split": split, **accuracy} for template, split in lines])


def make_embeddings(indexed: index.Index) -> None:
    """Write the embeddings of images and class names by "enc", and what the report reads of its weights."""
    provenance = {"classes": indexed.classes, "failed": 0, "index": indexed.digest, "contract": "c0"}
    vectors, _ = unit(blobs(0, indexed.rows["label"].tolist()))
    folder = embeddings.folder("enc", "toy")
    embeddings.write_images(folder, indexed.rows, {"embedding": vectors}, provenance, "float32")
    texts = pd.DataFrame({"class_name": indexed.classes, "label": range(len(indexed.classes)), "prompt": 0, "text": indexed.classes})
    written = {"warnings": ["1 text is cut to 77 tokens, of 2"]}
    embeddings.write_texts(folder, texts, blobs(1, list(range(len(texts)))), written)
    (folder / "texts_contract.json").write_text(json.dumps({"logit_scale": 100.0}))
    (folder / "contract.json").write_text(json.dumps({"precision": "float32", "device": "cpu"}))
    card: dict[str, Any] = {
        "name": "enc",
        "library": "timm",
        "architecture": "vit",
        "activation": None,
        "preprocess": {},
        "image_vectors": {"embedding": 4},
    }
    card |= {"text_vectors": {}, "logit_scale": None, "origin": "somewhere", "packages": {"images": []}, "weights_sha256": "ab" * 32}
    Path("data/weights/enc").mkdir(parents=True)
    Path("data/weights/enc/encoder.json").write_text(json.dumps(card))


def make_toy(monkeypatch: pytest.MonkeyPatch, classes: list[str] = CLASSES, wrong: tuple[int, int] = (3, 1)) -> None:
    """Write the files of the other stages for one encoder: zero-shot and all approaches on embeddings, with ``wrong`` answers each."""
    indexed = make_index(SPLITS, LABELS, classes)
    make_embeddings(indexed)
    predict(indexed, "zero_shot", "enc", wrong[0], classes)
    selected = {"linear_probe": {"C": 1.0, "vectors": "embedding_normalised"}, "knn": {"k": 3, "votes": "uniform"}}
    for stage in on_axis("encoders"):
        predict(indexed, stage, "enc", wrong[1], classes, selected=selected.get(stage, {}))
    for approach in APPROACHES:
        if approach.sweep:
            csv(f"plots/{approach.stage}/enc-toy.csv", [{"C": C, "series": "a_b", "mean_per_class": 0.5} for C in (1, 2)])
    uniform = {"k": 1, "votes": "uniform", "mean_per_class": 0.5}
    csv("plots/knn/enc-toy.csv", [{**uniform, "split": split, "series": f"{split}, uniform"} for split in ("val", "test")])
    compare(["A <b>{}</b>", "{}"])
    shots = [
        {"shots": number, "method": "zero_shot", "mean_per_class": 0.5, "std": None, "wins": None, "seeds": 1} for number in ("1", "all")
    ]
    csv("plots/few_shot/enc-toy.csv", shots)
    declare(monkeypatch, **TOY)
    audit.main("enc", "toy")
    score.main("toy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with all its files and the page, created once."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        start(root, patch)
        make_toy(patch)
        report.main()
    return root


@pytest.fixture
def toy(finished: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """The page of a copy of that project, in the working folder."""
    shutil.copytree(finished, project, dirs_exist_ok=True)
    declare(monkeypatch, **TOY)
    return Page()


def test_the_page_has_its_sections_one_heading_and_no_request(toy: Page) -> None:
    assert [element["id"] for element in toy.all("section")] == SECTIONS
    assert [link["href"] for link in toy.all("a")][:15] == ["#main", *(f"#{name}" for name in SECTIONS)]
    assert len(toy.all("h1")) == 1 and toy.all("html") == [{"lang": "en"}]
    addresses = [address for _, attributes in toy.elements for key in ("src", "href") if (address := attributes.get(key))]
    assert {address.split(":")[0] for address in addresses if not address.startswith("#")} == {"data", report.RUNS_PAGE.name}
    assert not re.search(r"url\((?!#)|@import", toy.html)
    ids = [str(attributes["id"]) for _, attributes in toy.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_class_names_that_look_like_numbers_or_missing_values_stay_text(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_toy(monkeypatch, ["None", "1e5"])
    report.main()
    assert set(sections.table(Path("plots/score/toy/per_class.csv"))["class_name"]) == {"None", "1e5"}
    confusions = re.findall(r"<svg[^>]*confusion.*?</svg>", Page().html, re.DOTALL)
    assert confusions and all("None" in figure and "1e5" in figure for figure in confusions)
    assert "ERROR" not in capfd.readouterr().err  # vl-convert only prints what it cannot draw


def test_names_with_markup_are_text_and_names_from_right_to_left_are_isolated(toy: Page) -> None:
    assert toy.html.count("<script") == 1  # the page's own
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in toy.html and "<bdi>زهرة حمراء</bdi>" in toy.html
    assert "Plants, &lt;b&gt;named&lt;/b&gt;" in toy.html and "A &lt;b&gt;{}&lt;/b&gt;" in toy.html
    assert "# &lt;made up&gt;" in toy.html


def test_the_table_reads_and_sorts(toy: Page) -> None:
    assert "C: 1, vectors: embedding_normalised" in toy.text
    tables = [attributes for attributes in toy.all("table") if attributes.get("class") == "sortable"]
    heads = [attributes for attributes in toy.all("th") if attributes.get("scope") == "col"]
    assert len(tables) == len(toy.all("caption")) and len(heads) == len(toy.all("button"))
    unbroken = toy.html.replace("\xa0", " ").replace("\N{NON-BREAKING HYPHEN}", "-")
    assert re.findall(r"<button[^>]*>(.*?)<", unbroken)[:9] == [
        *("Approach", "Mean per-class accuracy (95 % interval)", "Gap to best", "Top-1", "Top-5"),
        *("Trained on train only", "Chosen on val", "Test images", "Unreadable"),
    ]


def test_identical_approaches_are_reported(toy: Page) -> None:
    assert "Linear probe (enc) and kNN (enc) classify exactly the same test images correctly." in toy.text
    assert "do not differ significantly in mean per-class accuracy (gap: 25.0 points)." in toy.text


def test_the_first_screen_is_data_set_answer_table_and_certainty(toy: Page) -> None:
    text = " ".join(toy.text.replace("\xa0", " ").split())
    steps = (
        "8 × 8 pixel scans of handwritten digits from scikit-learn: 2 classes, 8 images for training (train), "
        "4 for choosing settings (val) and 8 for testing (test).",
        "Linear probe (enc) is the most accurate: 87.5 % mean per-class accuracy (95 % interval: ",
        "kNN (enc)",
        " and zero-shot (enc) do not differ significantly from it, although zero-shot needs no labelled images.",
        "linear classifier on embeddings",
        "vote of the nearest training images",
        "class names, no training images",
        "−25.0 n.s.",
        "The 95 % interval is the range of true accuracies consistent with the answers on these 8 test images.",
        "“Not significant” (n.s.) means that a difference could be due to chance: the two approaches may be equally accurate.",
        "Training curves",
    )
    rest = text[text.index("Skip to the results") :].partition("An application")[2]  # after the links to the sections
    for step in steps:
        _, match, rest = rest.partition(step)
        assert match, step


def test_the_first_screen_without_zero_shot(toy: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, **TOY | {"zero_shot": []})
    score.main("toy")
    report.main()
    text = Page().text
    assert re.search(r"%\)\. kNN \(enc\)[^.]* not differ significantly from it\.", text)
    assert "needs no labelled images" not in text and "class names, no training images" not in text


def test_the_warning_about_drawings_is_with_the_result_and_under_limitations(toy: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "say nothing about photographs" not in toy.text
    garden = {"kind": "garden", "image_size": 64, "train": 4, "val": 2, "test": 4, "seed": 0}
    monkeypatch.setitem(PARAMS, "datasets", {"toy": garden})
    declare(monkeypatch, **TOY)
    report.main()
    text = Page().text
    assert "Drawings of flowers, generated by this pipeline: 2 classes, 8 images" in text
    assert text.count("The results say nothing about photographs.") == 2


def test_one_prompt_is_a_sentence_and_several_are_a_figure(toy: Page) -> None:
    drawn = "prompts of enc on toy"
    assert drawn in [element.get("aria-label") for element in toy.all("svg")]
    compare(["A <b>{}</b>"])
    report.main()
    one = Page()
    assert drawn not in [element.get("aria-label") for element in one.all("svg")]
    assert "enc has one prompt, “A <b>{}</b>”: 50.0\xa0% mean per-class accuracy on test." in one.text


def test_galleries_show_wrong_answers_with_similar_training_images(toy: Page) -> None:
    images = toy.all("img")
    assert all(image["alt"] and str(image["src"]).startswith("data:image/") for image in images)
    assert sum(str(image["alt"]).startswith("Similar training image") for image in images) == 2 * 3  # two approaches, one wrong answer each
    assert max(len(str(image["src"])) for image in images) < 10_000


def test_the_same_inputs_give_the_same_bytes(toy: Page) -> None:
    report.main()
    assert Page().html == toy.html


def test_provenance(toy: Page) -> None:
    assert "ab" * 32 in toy.text and [link["href"] for link in toy.all("a") if link["href"] == report.RUNS_PAGE.name]
    runs = Page(report.RUNS_PAGE).text
    assert "No git repository" in runs and "no stage ran on this machine" in runs


def test_warnings_of_embed_texts_are_shown(toy: Page) -> None:
    assert "Warning: enc: 1 text is cut to 77 tokens, of 2." in toy.text


def test_times_change_only_the_page_of_runs(toy: Page) -> None:
    speed = {"training_seconds": 1.25, "megabytes_per_second": 3.5}
    run = {"seconds": 12.5, "peak_mib": 321, "finished": "2001-02-03T04:05:06+0000"}
    lines = [
        {"cell": "score@toy", **run},
        {"cell": "tokenizers@toy", "tokenizers": {"bpe <b>": speed}, **run},
        {"cell": "knn@other", **run},
    ]
    Path("data/runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report.main()
    assert Page().html == toy.html
    text = Page(report.RUNS_PAGE).text
    assert (
        all(part in text for part in ("score@toy", "12.5", "321", "2001-02-03T04:05:06+0000", "bpe <b>", "3.5")) and "knn@other" not in text
    )


def test_empty_axes_need_no_stage(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch)
    report.main()
    page = Page()
    assert [element["id"] for element in page.all("section")] == SECTIONS
    for text in (
        *("axes.datasets is empty: no images were classified.", "axes.corpora is empty: no tokenizer was trained."),
        *("axes.finetune and axes.scratch are empty: no network was trained.", "name neither a data set nor a corpus"),
    ):
        assert text in page.text
    assert [element["id"] for element in page.all("section")] == SECTIONS and not page.all("table")


def test_one_class_one_image_and_no_encoder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed = make_index(["test"], [0], ["only"])
    predict(indexed, "scratch", "own", 0, ["only"])
    checkpoint = Path("data/checkpoints/scratch/own-toy")
    checkpoint.mkdir(parents=True)
    (checkpoint / "network.txt").write_text("Conv2d <3>")
    declare(monkeypatch, datasets=["toy"], scratch=["own"])
    score.main("toy")
    report.main()
    text = Page().text
    for expected in (
        *("With only one class, none can be confused.", "With only one approach, there is nothing to compare."),
        *("No other approach was run.", "the answers on this one test image.", "without embeddings there is no audit", "Conv2d <3>"),
        *("1 class, 0 images for training (train)", "1 test image, 1 in the smallest class"),
    ):
        assert expected in text
    assert "Not significant" not in text


def test_missing_predictions_are_one_line(toy: Page) -> None:
    predictions.path_of("toy", "knn", "enc").unlink()
    with pytest.raises(InputError, match=r"^data/predictions/toy/knn-enc\.parquet: no such file; `dvc repro` creates it$"):
        report.main()


@pytest.mark.parametrize("path", ["metrics/toy.json", "plots/score/toy/pairs.csv", "plots/knn/enc-toy.csv", "data/audit/enc-toy.parquet"])
def test_a_missing_file_is_one_line(toy: Page, path: str) -> None:
    Path(path).unlink()
    with pytest.raises(InputError, match=f"^{re.escape(path)}: no such file"):
        report.main()


def test_metrics_of_other_axes_are_one_line(toy: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, datasets=["toy"], encoders=["enc"])
    with pytest.raises(InputError, match=r"^metrics/toy\.json: has .*zero_shot enc.*; the axes name linear_probe enc, knn enc"):
        report.main()


def test_a_page_that_is_too_large_is_one_line(toy: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LARGEST", 1000)
    with pytest.raises(InputError, match=r"bytes, more than 1,000: lower report\.thumbnail_size, gallery, findings or answers$"):
        report.main()


@pytest.mark.parametrize(("key", "value"), [("thumbnail_size", 8), ("gallery", 0), ("findings", -1), ("answers", -1)])
def test_wrong_settings_are_one_line(key: str, value: int) -> None:
    with pytest.raises(InputError, match=rf"^params\.yaml: report\.{key} = {value}: input should be greater than or equal to \d+$"):
        check(report.Report, PARAMS["report"] | {key: value}, "report")


HEADERS = {  # of the files of a data set without a label
    "score/toy/pairs": comparisons.COLUMNS,
    "score/toy/per_class": ("class_name", "accuracy", "approach"),
    "score/toy/reliability": ("bin", "confidence", "accuracy", "count", "temperature", "approach"),
    "score/toy/confused": ("actual", "predicted", "count", "share", "approach"),
    "score/toy/curves": ("epoch", "approach", "split", "accuracy", "loss"),
    "linear_probe/enc-toy": ("C", "series", "mean_per_class"),
    "knn/enc-toy": ("k", "votes", "mean_per_class", "split", "series"),
    "zero_shot/enc-toy": ("template", "split", "top1", "mean_per_class"),
    "few_shot/enc-toy": ("shots", "method", "mean_per_class", "std", "wins", "seeds"),
    "audit/enc-toy": ("class_name", "images", "cohesion", "nearest_class", "nearest"),
}
NO_TEST = "no test images with a label"


def make_photographs(
    monkeypatch: pytest.MonkeyPatch, labels: Sequence[int], purposes: Sequence[str], zero_shot: bool = True
) -> index.Index:
    """Write the files of the other stages for images that are not for training, most without a class.

    Zero-shot answers, unless ``zero_shot`` is false; the other approaches have no labels to learn from.
    """
    splits = [UNLABELLED if label == NO_LABEL else "test" for label in labels]
    indexed = make_index(splits, list(labels), [*CLASSES, "empty"], purposes)
    make_embeddings(indexed)
    for stage in on_axis("encoders") + on_axis("zero_shot"):
        if stage == "zero_shot" and zero_shot:
            predict(indexed, stage, "enc", 0, indexed.classes)
        else:
            none, rows = np.zeros((0, 3), np.float32), indexed.rows[:0]
            unfitted = Predictions(stage, "enc", rows, none, indexed.classes, 0, indexed.digest, "c0", "no <labels>")
            predictions.write("toy", unfitted)
    measured: dict[str, Any] = {stage: {"enc": {"not_yet": "no <labels>"}} for stage in on_axis("encoders") + on_axis("zero_shot")}
    if zero_shot:
        measured["zero_shot"]["enc"] = {"not_yet": NO_TEST, "temperature": 1.0, "calibrated": False}
    for name, columns in HEADERS.items():
        csv(f"plots/{name}.csv", [], columns)
    Path("data/audit").mkdir()
    pd.DataFrame(columns=["kind"], dtype=object).to_parquet("data/audit/enc-toy.parquet")
    pairs = dict.fromkeys(("copy", "near_duplicate", "mirrored", "across_splits", "of_two_classes"), 0)
    counts = {"pairs": pairs, "test_images": {"all": 0, "leaked": 0}, "labels": {"judged": 0, "not_judged": 0}, "too_small_to_compare": 0}
    counts["without_class"] = list(labels).count(NO_LABEL)
    for path, content in (("metrics/toy.json", measured), ("metrics/audit/enc-toy.json", counts)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(content))
    declare(monkeypatch, **TOY)
    answers.main("toy")
    return indexed


def words(page: Page) -> str:
    """Return the page's text with single blanks."""
    return " ".join(page.text.replace("\xa0", " ").split())


def test_a_folder_without_labels_has_answers_first_and_the_reasons_for_the_rest(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photographs(monkeypatch, [NO_LABEL] * 9, [""] * 9)
    report.main()
    page = Page()
    assert [element["id"] for element in page.all("section")] == ["answers", *SECTIONS]
    text = words(page)
    for expected in (
        "Zero-shot (enc) answered for the 9 photographs without a label. Why this approach? No other approach has answers yet.",
        "How accurate these answers are on your photographs is unknown: none that was drawn at random has a label.",
        "draw 50 with clipstore label sample 50 toy and label them.",
        "<script>alert(1)</script> 9 photographs Surest 80.0 % uncalibrated 80.0 % uncalibrated Least sure 80.0 % uncalibrated or",
        "Classes without a photograph زهرة حمراء; empty.",
        "8 × 8 pixel scans of handwritten digits from scikit-learn: 3 classes, 9 images without a class, none with one.",
        "No approach has a measured accuracy yet.",
        f"Zero-shot (enc) class names, no training images not yet: {NO_TEST}",
        "kNN (enc) vote of the nearest training images not yet: no <labels>",
        "There are too few labels yet.",
        "There are no labels yet to compare prompts on.",
        "No hyperparameters have been tried yet.",
        "The 9 images without a class were not checked.",
        "toy: no test images with a label, so no accuracy was measured.",
    ):
        assert expected in text, expected
    assert text.count("There are no test images with a label yet.") == 3  # calibration, confusion, gallery
    assert text.count("80.0 % uncalibrated") == 4 and page.html.count("<script") == 1
    assert "<code>clipstore label sample 50 toy</code>" in page.html
    assert [link["href"] for link in page.all("a") if str(link["href"]).startswith("../")] == ["../data/answers/toy.csv"]
    ids = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_accuracy_is_that_of_the_random_sample(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero-shot answers class 0 to images without a class; of three labels it gets two right, and an image shows none of the classes."""
    indexed = make_photographs(monkeypatch, [0, 0, 1, *[NO_LABEL] * 5], ["test", "test", "test", "test", "train", "drawn", "drawn", ""])
    predict(indexed, "zero_shot", "enc", 6, indexed.classes)
    answers.main("toy")
    report.main()
    text = words(Page())
    low, high = (round(100 * end) for end in intervals.exact(2, 4))
    for expected in (
        "answered for the 3 photographs without a label.",
        f"Of 4 random photographs, 2 were answered correctly: 50 % (95 % interval: {low} to {high} %).",
        "1 of them shows none of the classes and counts as wrong: unlabelled/003.png.",
        "2 photographs drawn at random wait for a label",
        "This holds for photographs like those drawn",
    ):
        assert expected in text, expected
    assert "is unknown" not in text


def test_where_every_image_has_a_label_the_accuracy_of_the_sample_remains(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photographs(monkeypatch, [0, 1], ["test", "test"])
    report.main()
    text = words(Page())
    assert "Every image has a label. Of 2 random photographs, 2 were answered correctly: 100 %" in text


def test_where_nothing_can_be_fitted_the_reasons_are_on_the_page(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photographs(monkeypatch, [NO_LABEL] * 2, ["", "drawn"], zero_shot=False)
    report.main()
    text = words(Page())
    assert "Not yet: no approach can answer yet (zero-shot (enc): no <labels>; " in text
    assert "80.0 %" not in text and "random" not in text.partition("Results")[0]


def test_class_names_that_look_alike_are_listed_with_their_cosine(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photographs(monkeypatch, [NO_LABEL] * 3, [""] * 3)
    texts = pd.DataFrame({"class_name": ["a", "<b>", "c"], "label": [0, 1, 2], "prompt": 0, "text": ["a", "b", "c"]})
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    embeddings.write_texts(embeddings.folder("enc", "toy"), texts, vectors, {"warnings": []})
    report.main()
    assert "These two class names look alike to the model" in words(Page())
    assert re.findall(r"<td><bdi>(.*?)</bdi></td><td><bdi>(.*?)</bdi></td><td class=\"number\">(.*?)<", Page().html) == [
        ("&lt;b&gt;", "c", "0.800"),
        ("a", "&lt;b&gt;", "0.600"),
        ("a", "c", "0.000"),
    ]


def test_what_to_label_next_is_shown_if_there_is_any(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed = make_photographs(monkeypatch, [NO_LABEL] * 3, [""] * 3)
    rows = sections.records(indexed.rows.assign(rank=[1, 2, 3], guess="<i>", confidence=0.25, reason="unlike the others"))
    columns = ["rank", "path", "sha256", "guess", "confidence", "reason"]
    csv("data/label_next/enc-toy.csv", rows, columns)
    report.main()
    assert "The first 2 of 3 photographs, in this order." in words(Page())
    assert "1 <i>? 25.0 % uncalibrated unlike the others" in words(Page())
    assert "../data/label_next/enc-toy.html" in [link["href"] for link in Page().all("a")]
    csv("data/label_next/enc-toy.csv", [], columns)
    report.main()
    assert "What to label next" not in words(Page())


def test_the_simulation_is_drawn_if_it_has_rows(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(sections, "draw", lambda *arguments: drawn.append(arguments))
    columns = ["labels", "strategy", "mean_per_class", "std", "seeds"]
    csv("plots/simulation/enc-toy.csv", [], columns)
    assert sections.simulation("toy", ("enc",)) == [] == drawn
    rows = [(0, "zero_shot", 0.25, None, 1), (1, "random", 0.5, 0.1, 20), (1, "margin", 0.75, 0.1, 5)]
    csv("plots/simulation/enc-toy.csv", [dict(zip(columns, row, strict=True)) for row in rows])
    sections.simulation("toy", ("enc",))
    ((template, frame, *_, caption),) = drawn
    assert (template, frame["strategy"].tolist()) == ("simulation", ["zero_shot", "random", "margin"])
    assert caption.endswith("a strategy chooses which to ask for. Means over 5 to 20 runs.")


def test_answers_of_another_index_are_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed = make_photographs(monkeypatch, [NO_LABEL] * 2, [""] * 2)
    stored = read_answers("toy", indexed.digest)
    write_answers("toy", replace(stored, notes=replace(stored.notes, index="0" * 64)))
    with pytest.raises(InputError, match=r"^data/answers/toy\.parquet: computed from another index \(digest 000000000000, expected "):
        report.main()
