"""Compare the stages with the libraries behind the published figures, on identical weights and files.

Weights are random or trained for seconds: only the arithmetic is compared. Each comparison also checks that it could have failed: that
vectors of different images and texts differ by more than the tolerance, and that the answers are not all the same.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from clip_benchmark.metrics import zeroshot_classification as clip_benchmark
from PIL import Image
from ruamel.yaml import YAML
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from clipstore.core.vectors import unit
from clipstore.data import labels as labels_file
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.info import read_info
from clipstore.encoders.open_clip import write_folder
from clipstore.encoders.vision import open_clip
from clipstore.probes import ensemble
from clipstore.store import embeddings, predictions
from stages import audit, download, embed_images, embed_texts, index, knn, linear_probe, score, weights, zero_shot
from tests.odd import drawn, in_every_mode
from tests.project import make_index, unigram_tokenizer
from tests.synthetic import encoded, use
from tests.workspace import PROJECT

Matrix = npt.NDArray[np.float32]
Precision = Literal["float32", "bfloat16"]

PARAMS: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")
SIZES = [(64, 64), (20, 17), (97, 40), (40, 97), (200, 24), (300, 200), (33, 500), (65, 64), (128, 128)]  # pixels
CLASSES = ("Blue_Tit", "st. bernard", "Red-Winged Bird?")
PROMPTS = (
    "a photo of a {}, a type of pet.",
    "A {}!",
    "{} is the first word of many more than fit into the context of this small text tower, is it not",
)

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
TIMM = {"timm_model_pretrained": False, "image_size": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": TEXT,
        "quick_gelu": True,
    },
    # With only 8 channels and one pixel at the end, bfloat16's rounding errors would not average out: cosines would be 0.998.
    "resnet": {"embed_dim": 32, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}, "text_cfg": TEXT},
    "timm_linear": {
        "embed_dim": 32,
        "vision_cfg": TIMM | {"timm_model_name": "resnet10t", "timm_pool": "", "timm_proj": "linear"},
        "text_cfg": TEXT,
    },
    "siglip": {
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": TIMM | {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
        "text_cfg": TEXT
        | {"hf_tokenizer_name": "none/such", "tokenizer_kwargs": {"clean": "canonicalize"}}
        | {"vocab_size": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
}
PREPROCESS = {"siglip": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize_mode": "squash"}}


@torch.no_grad()
def settle(model: Any, transform: Any) -> None:
    """Set BatchNorm's gains and the statistics of drawings, as after training; without them every image has the same vector."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.5)
        norm.momentum = None  # a plain mean over the following batches
    if norms:
        model.train()
        model.encode_image(torch.stack([transform(drawn(1000 + seed, (64, 64))) for seed in range(64)]))


def make_weights(family: str) -> None:
    """Write random weights to data/weights/FAMILY."""
    config = FAMILIES[family]
    kind = open_clip.model.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    preprocess = open_clip.transform.PreprocessCfg(size=config["vision_cfg"]["image_size"], **PREPROCESS.get(family, {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(**{key: value for key, value in config.items() if key != "custom_text"})
        settle(model, open_clip.transform.image_transform_v2(preprocess, is_train=False))
    open_clip.model.set_model_preprocess_cfg(model, dataclasses.asdict(preprocess))
    tokenizer = unigram_tokenizer() if "hf_tokenizer_name" in config["text_cfg"] else None
    write_folder(family, model, family, config, "random", tokenizer)


def make_images(files: dict[str, bytes]) -> None:
    """Write the files (bytes by name) to data/raw/own, alternating between the three classes, and their index."""
    for number, (name, data) in enumerate(files.items()):
        path = Path("data/raw/own") / CLASSES[number % len(CLASSES)] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    make_index()


def drawings() -> dict[str, bytes]:
    """Return a drawing of every size, alternating between three formats."""
    forms = ("PNG", "JPEG", "WEBP")
    return {f"{at}.{forms[at % 3].lower()}": encoded(drawn(at, size), forms[at % 3]) for at, size in enumerate(SIZES)}


def run(monkeypatch: pytest.MonkeyPatch, family: str, precision: Precision, prompts: tuple[str, ...] = PROMPTS) -> None:
    """Run both embedding stages."""
    sections = {name: PARAMS[name] | {"precision": precision, "batch_size": 4} for name in ("embed_images", "embed_texts")}
    use(monkeypatch, sections | {"prompts": {"own": list(prompts)}})
    embed_images.main(family, "own")
    embed_texts.main(family, "own")


class Plain:
    """The equivalent of a script that uses only open_clip: its own model, transform and tokenizer, in float32."""

    def __init__(self, folder: Path) -> None:
        """Load the weights in a folder."""
        self.model, _, self.transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def pixels(self, path: Path, mode: str | None = None) -> torch.Tensor:
        """Return the model's input for a file, converted to ``mode`` first if given."""
        with Image.open(path) as image:
            pixels: torch.Tensor = self.transform(image.convert(mode) if mode else image)
        return pixels

    @torch.inference_mode()
    def images(self, paths: list[Path], mode: str | None = None) -> Matrix:
        """Return the unit embeddings of files, one at a time, float32 (n, d)."""
        return np.concatenate([self.model.encode_image(self.pixels(path, mode)[None], normalize=True).numpy() for path in paths])

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Matrix:
        """Return the unit embeddings of texts, float32 (n, d)."""
        vectors: Matrix = self.model.encode_text(self.tokenizer(texts), normalize=True).numpy()
        return vectors


def assert_alike(vectors: Matrix, expected: Matrix, least: float) -> None:
    """Check that every row's cosine to its own expectation is above ``least``, and to all others below."""
    cosines = vectors.astype(float) @ expected.T.astype(float)
    own = np.eye(len(cosines), dtype=bool)
    assert cosines[own].min() > least > cosines[~own].max(), (cosines[own].min(), cosines[~own].max())


def paths_of(rows: pd.DataFrame) -> list[Path]:
    return [Path("data/raw/own") / name for name in rows["image_id"]]


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.9999), ("bfloat16", 0.999)])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_vector_is_the_one_of_a_plain_open_clip_script(
    project: Path, monkeypatch: pytest.MonkeyPatch, family: str, precision: Precision, least: float
) -> None:
    make_images(drawings())
    make_weights(family)
    run(monkeypatch, family, precision)
    plain = Plain(project / "data/weights" / family)
    images = embeddings.read_images(family, "own")
    assert len(images.rows) == len(SIZES)
    assert_alike(images.embedding, plain.images(paths_of(images.rows)), least)
    rows, texts, contract = embeddings.read_texts(family, "own")
    assert sorted(rows["text"]) == sorted(prompt.replace("{}", name) for prompt in PROMPTS for name in CLASSES)
    assert_alike(texts, plain.texts(rows["text"].tolist()), least)
    assert contract["precision"] == precision
    assert contract["logit_scale"] == pytest.approx(plain.model.logit_scale.exp().item(), rel=1e-6)  # in float32


def test_odd_modes_are_converted_to_rgb_before_open_clips_own_transform(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(in_every_mode((300, 220)))
    make_weights("vit")
    run(monkeypatch, "vit", "float32")
    images = embeddings.read_images("vit", "own")
    plain = Plain(project / "data/weights/vit")
    assert_alike(images.embedding, plain.images(paths_of(images.rows), "RGB"), 0.9999)


def test_a_palette_resized_before_its_conversion_gives_another_vector(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip's transform itself does this, by nearest neighbour; this project deliberately does not."""
    make_images(in_every_mode((300, 220)))
    make_weights("vit")
    run(monkeypatch, "vit", "float32")
    images = embeddings.read_images("vit", "own")
    plain = Plain(project / "data/weights/vit").images(paths_of(images.rows))
    cosines = dict(zip([path.name for path in paths_of(images.rows)], (images.embedding * plain).sum(axis=1), strict=True))
    assert max(cosines[name] for name in ("palette.png", "palette.gif", "moving.gif", "one bit.png")) < 0.999
    assert min(cosines[name] for name in ("grey.jpg", "cmyk.jpg", "turned.jpg")) > 0.9999


def test_siglips_texts_are_canonicalised(project: Path) -> None:
    """They become lower case without punctuation, as its tokenizer_kwargs specify, so that both texts are the same."""
    make_weights("siglip")
    encoder = Encoder(read_info("siglip"), "float32", 2)
    written, canonical = encoder.encode_texts(["A Blue_Tit!", "a blue tit"])["embedding"]
    np.testing.assert_array_equal(written, canonical)
    tokens = encoder.tokenize(["a blue tit"])[0].tolist()
    assert len(tokens) == TEXT["context_length"]
    assert (tokens.count(2), tokens[-1]) == (0, 0)  # no unknown token, and padded


def test_siglips_bias_cancels_in_the_probabilities(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(drawings())
    make_weights("siglip")
    run(monkeypatch, "siglip", "float32", PROMPTS[:1])
    zero_shot.main("siglip", "own")
    ours = predictions.read("own", "zero_shot", "siglip")
    plain = Plain(project / "data/weights/siglip")
    pixels = torch.stack([plain.pixels(path) for path in paths_of(ours.rows)])
    with torch.inference_mode():
        logits, _ = plain.model.get_logits(pixels, plain.tokenizer([PROMPTS[0].replace("{}", name) for name in ours.classes]))
    assert plain.model.logit_bias.item() == -10
    assert logits.mean() < -5  # they include the bias
    np.testing.assert_allclose(ours.probabilities, logits.softmax(dim=1), atol=1e-4)


TEMPLATES = ("An image of {}, a type of flower.", "a bad photo of the {}.", "{} in the garden")
NAME, DATA = "garden_clip", "garden"


@dataclass(frozen=True)
class Cell:
    """A run of the pipeline in this process, on a small garden with a garden_clip trained for seconds.

    Attributes:
        root: the project's folder.
        params: its params.yaml.
        rows: rows of images.parquet: image_id, label, split, embedding, norm, features ...
        vectors: images.npy.
        plain: the weights as loaded by plain open_clip.
    """

    root: Path
    params: dict[str, Any]
    rows: pd.DataFrame
    vectors: Matrix
    plain: Plain

    def of(self, *splits: str) -> npt.NDArray[np.intp]:
        """Return the positions of the rows in ``splits``."""
        return np.flatnonzero(self.rows["split"].isin(splits))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Return the labels of the rows."""
        return self.rows["label"].to_numpy(np.int64)

    @property
    def classes(self) -> list[str]:
        """Return the class names in label order."""
        names: list[str] = self.rows.drop_duplicates("label").sort_values("label")["class_name"].tolist()
        return names


def thin_out(manifest: Path) -> None:
    """Remove some test images, so that classes differ in size and top-1 differs from mean per class."""
    rows = pd.read_csv(manifest)
    rows[(rows["split"] != "test") | (rows.index % 7 != 0)].to_csv(manifest, index=False)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    """Run every stage once."""
    root = tmp_path_factory.mktemp("cell")
    params = PARAMS | {
        "axes": {
            "download": [DATA],
            "datasets": [DATA],
            "weights": [NAME],
            "encoders": [NAME],
            "zero_shot": [NAME],
            "finetune": [],
            "scratch": [],
            "corpora": [],
        },
        "datasets": {DATA: PARAMS["datasets"][DATA] | {"image_size": 32, "train": 3, "val": 2, "test": 4}},
        "encoders": {NAME: PARAMS["encoders"][NAME] | {"image_size": 32, "drawings": 1, "steps": 40}},
        "prompts": {DATA: list(TEMPLATES)},
        "linear_probe": PARAMS["linear_probe"] | {"C": [0.1, 1.0, 10.0]},
    }
    for name in ("embed_images", "embed_texts"):
        params[name] = PARAMS[name] | {"precision": "float32"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("CLIP_FEATURE_STORE_CACHE", str(root / "cache"))
        use(patch, params)
        patch.setattr(weights, "load", lambda: params)
        download.main(DATA)
        thin_out(Path("data/raw") / DATA / "manifest.csv")
        labels_file.create(DATA)
        index.main(DATA)
        weights.main(NAME)
        for stage in (embed_images, embed_texts, zero_shot, linear_probe, knn, audit):
            stage.main(NAME, DATA)
        score.main(DATA)
    folder = root / "data/embeddings" / f"{NAME}-{DATA}"
    rows = pq.read_table(folder / "images.parquet").to_pandas()
    return Cell(root, params, rows, np.load(folder / "images.npy"), Plain(root / "data/weights" / NAME))


@pytest.fixture
def inside(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """The cell, with its root as the working folder."""
    monkeypatch.chdir(cell.root)
    return cell


class Photographs(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """The cell's test images, as a data set for CLIP_benchmark."""

    def __init__(self, cell: Cell) -> None:
        """Select the test images in the order of the index."""
        self.cell = cell
        self.classes = cell.classes
        self.test = cell.of("test")

    def __len__(self) -> int:
        """Return the number of test images."""
        return len(self.test)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        """Return pixels and label."""
        row = self.cell.rows.iloc[self.test[at]]
        return self.cell.plain.pixels(self.cell.root / "data/raw" / DATA / row["image_id"]), int(row["label"])


def loader(cell: Cell) -> Any:
    return torch.utils.data.DataLoader(Photographs(cell), batch_size=50)


@pytest.mark.slow
def test_an_ensemble_is_open_clips_and_clip_benchmarks(inside: Cell) -> None:
    rows, texts, _ = embeddings.read_texts(NAME, DATA)
    classes = ensemble.class_embeddings(texts, rows["label"].to_numpy(np.int64))
    model, tokenizer = inside.plain.model, inside.plain.tokenizer
    by_open_clip = open_clip.build_zero_shot_classifier(model, tokenizer, inside.classes, TEMPLATES).T.numpy()
    templates = [template.replace("{}", "{c}") for template in TEMPLATES]
    by_clip_benchmark = clip_benchmark.zero_shot_classifier(model, tokenizer, inside.classes, templates, "cpu", amp=False).T.numpy()
    for expected in (by_open_clip, by_clip_benchmark):
        np.testing.assert_allclose(classes, expected, atol=1e-5)
        assert_alike(classes, expected, 0.9999)
    single = unit(texts[rows["prompt"] == 0])[0]
    assert (single * classes).sum(axis=1).max() < 0.999  # a single prompt gives different embeddings


@pytest.mark.slow
def test_zero_shot_gives_every_test_image_clip_benchmarks_answer(inside: Cell) -> None:
    written = predictions.read(DATA, "zero_shot", NAME)
    probabilities = written.probabilities[(written.rows["split"] == "test").to_numpy()]
    model, tokenizer = inside.plain.model, inside.plain.tokenizer
    classifier = open_clip.build_zero_shot_classifier(model, tokenizer, inside.classes, TEMPLATES)
    logits, target = clip_benchmark.run_classification(model, classifier, loader(inside), "cpu", amp=False)
    assert written.rows["image_id"][written.rows["split"] == "test"].tolist() == inside.rows["image_id"][inside.of("test")].tolist()
    assert written.rows["label"][written.rows["split"] == "test"].tolist() == target.tolist()
    assert probabilities.argmax(axis=1).tolist() == logits.argmax(dim=1).tolist()
    assert len(set(probabilities.argmax(axis=1))) > 10  # of 28 classes
    expected = (logits / 100 * model.logit_scale.exp()).softmax(dim=1)  # CLIP_benchmark always uses 100, whatever the model's value
    np.testing.assert_allclose(probabilities, expected.detach(), atol=1e-5)


def accuracy(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...]) -> list[float]:
    """Return CLIP_benchmark's accuracies, without its float() of a one-element array, which NumPy 2.4 rejects."""
    correct = output.topk(max(topk), 1, True, True)[1].eq(target[:, None])
    return [float(correct[:, :k].sum() / len(target)) for k in topk]


@pytest.mark.slow
def test_accuracies_are_clip_benchmarks(inside: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_benchmark, "accuracy", accuracy)
    templates = [template.replace("{}", "{c}") for template in TEMPLATES]
    model, tokenizer = inside.plain.model, inside.plain.tokenizer
    expected = clip_benchmark.evaluate(model, loader(inside), tokenizer, inside.classes, templates, "cpu", amp=False)
    measured = json.loads(Path(f"metrics/{DATA}.json").read_text())["zero_shot"][NAME]
    assert measured["n"] == len(inside.of("test")) < 28 * 4
    assert abs(measured["top1"] - measured["mean_per_class"]) > 1e-3
    assert 2 / 28 < measured["top1"] < measured["top5"] < 1  # better than chance, but not perfect
    assert expected == pytest.approx(
        {"acc1": measured["top1"], "acc5": measured["top5"], "mean_per_class_recall": measured["mean_per_class"]}, abs=1e-6
    )


def softened(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return DINOv2's weights of neighbours with these cosine distances."""
    shares: npt.NDArray[np.float64] = np.exp((1 - distances) / PARAMS["knn"]["temperature"])
    return shares


@pytest.mark.slow
@pytest.mark.parametrize(("votes", "weights_of"), [("uniform", "uniform"), ("softmax", softened)])
@pytest.mark.parametrize("k", [1, 5])
def test_knns_predictions_are_scikit_learns_on_images_npy(
    inside: Cell, monkeypatch: pytest.MonkeyPatch, votes: str, weights_of: Any, k: int
) -> None:
    use(monkeypatch, inside.params | {"knn": PARAMS["knn"] | {"neighbors": [k], "votes": [votes]}})
    knn.main(NAME, DATA)
    written = predictions.read(DATA, "knn", NAME)
    assert written.selected == {"k": k, "votes": votes}
    for split, gallery in (("val", inside.of("train")), ("test", inside.of("train", "val"))):
        queries = inside.vectors[inside.of(split)]
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights_of)
        shares = model.fit(inside.vectors[gallery], inside.labels[gallery]).predict_proba(queries)
        probabilities = written.probabilities[(written.rows["split"] == split).to_numpy()]
        clear = np.diff(model.kneighbors(queries, k + 1)[0])[:, -1] > 1e-6  # rounding cannot swap the last neighbour and the next one
        np.testing.assert_allclose(probabilities[clear], (k * shares[clear] + 1 / 28) / (k + 1), atol=1e-4)
        first, second = np.sort(shares, axis=1)[:, :-3:-1].T
        decided = clear & (first > second + 1e-9)
        assert decided.mean() > 0.2  # on equal votes scikit-learn takes the lower label, this project the nearest neighbour's
        assert probabilities.argmax(axis=1)[decided].tolist() == shares.argmax(axis=1)[decided].tolist()


@pytest.mark.slow
def test_linear_probes_predictions_are_a_plain_logistic_regressions_on_images_parquet(inside: Cell) -> None:
    written = predictions.read(DATA, "linear_probe", NAME)
    embedding, features = np.stack(inside.rows["embedding"].tolist()), np.stack(inside.rows["features"].tolist())
    vectors = {
        "embedding_normalised": embedding,
        "embedding_raw": embedding * inside.rows["norm"].to_numpy()[:, None],
        "features_normalised": features / np.linalg.norm(features, axis=1, keepdims=True),
        "features_raw": features,
    }[written.selected["vectors"]]
    np.testing.assert_array_equal(embedding, inside.vectors)
    for split, known in (("val", inside.of("train")), ("test", inside.of("train", "val"))):
        model = LogisticRegression(C=written.selected["C"], max_iter=10_000, tol=1e-8).fit(
            vectors[known].astype(float), inside.labels[known]
        )
        expected = model.predict_proba(vectors[inside.of(split)])
        probabilities = written.probabilities[(written.rows["split"] == split).to_numpy()]
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)
        assert probabilities.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
