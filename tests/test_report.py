"""The report of a tiny invented project: one class is named like a script, one in Arabic."""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.rows import NO_LABEL
from clipstore.core.vectors import unit
from clipstore.data import index
from clipstore.report import sections
from clipstore.store import embeddings, predictions
from clipstore.store.approaches import APPROACHES
from clipstore.store.predictions import Predictions
from stages import audit, report, score
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
    "report": {"thumbnail_size": 64, "gallery": 2, "findings": 3},
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
    """Write predictions of val and test; the last ``wrong`` of them are wrong."""
    rows = indexed.rows[indexed.rows["split"] != "train"][["image_id", "split", "label"]].reset_index(drop=True)
    right = np.arange(len(rows)) < len(rows) - wrong
    shares = np.full((len(rows), len(classes)), 0.2 / max(1, len(classes) - 1), np.float32)
    answers = np.where(right, rows["label"], (rows["label"] + 1) % len(classes))
    shares[np.arange(len(rows)), answers] = 0.8 if len(classes) > 1 else 1.0
    predictions.write("toy", Predictions(stage, name, rows, logits_of(shares), classes, 0, indexed.digest, "c0", **facts))


def csv(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def compare(prompts: list[str]) -> None:
    """Write an accuracy of 0.5 for each prompt and the ensemble."""
    lines = [(template, split) for template in (*prompts, "ensemble") for split in ("val", "test")]
    accuracy = {"top1": 0.5, "mean_per_class": 0.5}
    csv("plots/zero_shot/enc-toy.csv", [{"template": template, "split": split, **accuracy} for template, split in lines])


def make_toy(monkeypatch: pytest.MonkeyPatch, classes: list[str] = CLASSES, wrong: tuple[int, int] = (3, 1)) -> None:
    """Write the files of the other stages for one encoder: zero-shot and all approaches on embeddings, with ``wrong`` answers each."""
    indexed = make_index(SPLITS, LABELS, classes)
    provenance = {"classes": classes, "failed": 0, "index": indexed.digest, "contract": "c0"}
    vectors, _ = unit(blobs(0, LABELS))
    embeddings.write_images(embeddings.folder("enc", "toy"), indexed.rows, {"embedding": vectors}, provenance, "float32")
    texts = pd.DataFrame({"class_name": classes, "label": [0, 1], "prompt": 0, "text": classes})
    embeddings.write_texts(embeddings.folder("enc", "toy"), texts, vectors[:2], {"warnings": ["1 text is cut to 77 tokens, of 2"]})
    (embeddings.folder("enc", "toy") / "contract.json").write_text(json.dumps({"precision": "float32", "device": "cpu"}))
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
    with pytest.raises(InputError, match=r"bytes, more than 1,000: lower report\.thumbnail_size, gallery or findings$"):
        report.main()


@pytest.mark.parametrize(("key", "value"), [("thumbnail_size", 8), ("gallery", 0), ("findings", -1)])
def test_wrong_settings_are_one_line(key: str, value: int) -> None:
    with pytest.raises(InputError, match=rf"^params\.yaml: report\.{key} = {value}: input should be greater than or equal to \d+$"):
        check(report.Report, PARAMS["report"] | {key: value}, "report")
