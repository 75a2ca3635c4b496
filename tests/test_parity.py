"""The stages against the libraries that made the published numbers, on identical weights and files.

Weights are random, or trained for seconds: what is compared is arithmetic. Each comparison also makes sure that it could have failed: that
the vectors of different images and texts are further apart than what is tolerated, and that the answers are not all alike.
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
    # With 8 channels and one pixel left at the end, bfloat16's rounding would not average out: cosines of 0.998.
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
    """Give BatchNorm gains, and the statistics of drawings as training leaves them: without, every image has the same vector."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.5)
        norm.momentum = None  # the mean of what comes
    if norms:
        model.train()
        model.encode_image(torch.stack([transform(drawn(1000 + seed, (64, 64))) for seed in range(64)]))


def make_weights(family: str) -> None:
    """Write random weights as data/weights/FAMILY."""
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
    """Write the files, names to bytes, into data/raw/own, in the three classes by turns, and their index."""
    for number, (name, data) in enumerate(files.items()):
        path = Path("data/raw/own") / CLASSES[number % len(CLASSES)] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    make_index()


def drawings() -> dict[str, bytes]:
    """Return drawings of every size, in three formats by turns."""
    forms = ("PNG", "JPEG", "WEBP")
    return {f"{at}.{forms[at % 3].lower()}": encoded(drawn(at, size), forms[at % 3]) for at, size in enumerate(SIZES)}


def run(monkeypatch: pytest.MonkeyPatch, family: str, precision: Precision, prompts: tuple[str, ...] = PROMPTS) -> None:
    """Run both embedding stages."""
    stated = {name: PARAMS[name] | {"precision": precision, "batch_size": 4} for name in ("embed_images", "embed_texts")}
    use(monkeypatch, stated | {"prompts": {"own": list(prompts)}})
    embed_images.main(family, "own")
    embed_texts.main(family, "own")


class Plain:
    """What a script with nothing but open_clip does: its own model, transform and tokenizer, in float32."""

    def __init__(self, folder: Path) -> None:
        """Load the weights of a folder."""
        self.model, _, self.transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def pixels(self, path: Path, mode: str | None = None) -> torch.Tensor:
        """Return what the model is given of a file, converted to ``mode`` first if asked."""
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


def assert_alike(found: Matrix, expected: Matrix, least: float) -> None:
    """Every row has a cosine of at least ``least`` to its own expectation, and less to all others."""
    cosines = found.astype(float) @ expected.T.astype(float)
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
    """open_clip's transform left to itself does so, by nearest neighbour: there we do not follow it."""
    make_images(in_every_mode((300, 220)))
    make_weights("vit")
    run(monkeypatch, "vit", "float32")
    images = embeddings.read_images("vit", "own")
    plain = Plain(project / "data/weights/vit").images(paths_of(images.rows))
    cosines = dict(zip([path.name for path in paths_of(images.rows)], (images.embedding * plain).sum(axis=1), strict=True))
    assert max(cosines[name] for name in ("palette.png", "palette.gif", "moving.gif", "one bit.png")) < 0.999
    assert min(cosines[name] for name in ("grey.jpg", "cmyk.jpg", "turned.jpg")) > 0.9999


def test_siglips_texts_are_canonicalised(project: Path) -> None:
    """Lower case and no punctuation, as its tokenizer_kwargs say: what is left of both texts is the same."""
    make_weights("siglip")
    encoder = Encoder(read_info("siglip"), "float32", 2)
    written, canonical = encoder.encode_texts(["A Blue_Tit!", "a blue tit"])["embedding"]
    np.testing.assert_array_equal(written, canonical)
    tokens = encoder.tokenize(["a blue tit"])[0].tolist()
    assert len(tokens) == TEXT["context_length"]
    assert (tokens.count(2), tokens[-1]) == (0, 0)  # nothing unknown, filled up


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
    assert logits.mean() < -5  # the bias is in there
    np.testing.assert_allclose(ours.probabilities, logits.softmax(dim=1), atol=1e-4)


TEMPLATES = ("An image of {}, a type of flower.", "a bad photo of the {}.", "{} in the garden")
NAME, DATA = "garden_clip", "garden"


@dataclass(frozen=True)
class Cell:
    """The pipeline run on a small garden with a garden_clip that was trained for seconds, all in this process.

    Attributes:
        root: the project's folder.
        params: its params.yaml.
        rows: of images.parquet: image_id, label, split, embedding, norm, features ...
        vectors: images.npy.
        plain: open_clip's own reading of the weights.
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
    """Take some test images away, so that classes weigh differently in top-1 and in mean per class."""
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
    """The cell, its root the working folder."""
    monkeypatch.chdir(cell.root)
    return cell


class Photographs(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """The cell's test images, as CLIP_benchmark wants a data set."""

    def __init__(self, cell: Cell) -> None:
        """Take the test images in the order of the index."""
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
    found = ensemble.class_embeddings(texts, rows["label"].to_numpy(np.int64))
    model, tokenizer = inside.plain.model, inside.plain.tokenizer
    by_open_clip = open_clip.build_zero_shot_classifier(model, tokenizer, inside.classes, TEMPLATES).T.numpy()
    templates = [template.replace("{}", "{c}") for template in TEMPLATES]
    by_clip_benchmark = clip_benchmark.zero_shot_classifier(model, tokenizer, inside.classes, templates, "cpu", amp=False).T.numpy()
    for expected in (by_open_clip, by_clip_benchmark):
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert_alike(found, expected, 0.9999)
    single = unit(texts[rows["prompt"] == 0])[0]
    assert (single * found).sum(axis=1).max() < 0.999  # one prompt would not do


@pytest.mark.slow
def test_zero_shot_gives_every_test_image_clip_benchmarks_answer(inside: Cell) -> None:
    made = predictions.read(DATA, "zero_shot", NAME)
    found = made.probabilities[(made.rows["split"] == "test").to_numpy()]
    model, tokenizer = inside.plain.model, inside.plain.tokenizer
    classifier = open_clip.build_zero_shot_classifier(model, tokenizer, inside.classes, TEMPLATES)
    logits, target = clip_benchmark.run_classification(model, classifier, loader(inside), "cpu", amp=False)
    assert made.rows["image_id"][made.rows["split"] == "test"].tolist() == inside.rows["image_id"][inside.of("test")].tolist()
    assert made.rows["label"][made.rows["split"] == "test"].tolist() == target.tolist()
    assert found.argmax(axis=1).tolist() == logits.argmax(dim=1).tolist()
    assert len(set(found.argmax(axis=1))) > 10  # of 28 classes
    expected = (logits / 100 * model.logit_scale.exp()).softmax(dim=1)  # CLIP_benchmark takes 100 whatever the model says
    np.testing.assert_allclose(found, expected.detach(), atol=1e-5)


def accuracy(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...]) -> list[float]:
    """CLIP_benchmark's own, but for its float() of an array of one number, which NumPy 2.4 refuses."""
    correct = output.topk(max(topk), 1, True, True)[1].eq(target[:, None])
    return [float(correct[:, :k].sum() / len(target)) for k in topk]


@pytest.mark.slow
def test_accuracies_are_clip_benchmarks(inside: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_benchmark, "accuracy", accuracy)
    templates = [template.replace("{}", "{c}") for template in TEMPLATES]
    model, tokenizer = inside.plain.model, inside.plain.tokenizer
    expected = clip_benchmark.evaluate(model, loader(inside), tokenizer, inside.classes, templates, "cpu", amp=False)
    found = json.loads(Path(f"metrics/{DATA}.json").read_text())["zero_shot"][NAME]
    assert found["n"] == len(inside.of("test")) < 28 * 4
    assert abs(found["top1"] - found["mean_per_class"]) > 1e-3
    assert 2 / 28 < found["top1"] < found["top5"] < 1  # better than chance, and not all right
    assert expected == pytest.approx(
        {"acc1": found["top1"], "acc5": found["top5"], "mean_per_class_recall": found["mean_per_class"]}, abs=1e-6
    )


def softened(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return DINOv2's weight of neighbours by their cosine distance."""
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
    made = predictions.read(DATA, "knn", NAME)
    assert made.selected == {"k": k, "votes": votes}
    for split, gallery in (("val", inside.of("train")), ("test", inside.of("train", "val"))):
        queries = inside.vectors[inside.of(split)]
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights_of)
        shares = model.fit(inside.vectors[gallery], inside.labels[gallery]).predict_proba(queries)
        found = made.probabilities[(made.rows["split"] == split).to_numpy()]
        clear = np.diff(model.kneighbors(queries, k + 1)[0])[:, -1] > 1e-6  # rounding can't swap the last neighbour for the next
        np.testing.assert_allclose(found[clear], (k * shares[clear] + 1 / 28) / (k + 1), atol=1e-4)
        first, second = np.sort(shares, axis=1)[:, :-3:-1].T
        decided = clear & (first > second + 1e-9)
        assert decided.mean() > 0.2  # of equal votes scikit-learn takes the lower label, we the nearest neighbour's
        assert found.argmax(axis=1)[decided].tolist() == shares.argmax(axis=1)[decided].tolist()


@pytest.mark.slow
def test_linear_probes_predictions_are_a_plain_logistic_regressions_on_images_parquet(inside: Cell) -> None:
    made = predictions.read(DATA, "linear_probe", NAME)
    embedding, features = np.stack(inside.rows["embedding"].tolist()), np.stack(inside.rows["features"].tolist())
    vectors = {
        "embedding_normalised": embedding,
        "embedding_raw": embedding * inside.rows["norm"].to_numpy()[:, None],
        "features_normalised": features / np.linalg.norm(features, axis=1, keepdims=True),
        "features_raw": features,
    }[made.selected["vectors"]]
    np.testing.assert_array_equal(embedding, inside.vectors)
    for split, known in (("val", inside.of("train")), ("test", inside.of("train", "val"))):
        model = LogisticRegression(C=made.selected["C"], max_iter=10_000, tol=1e-8).fit(vectors[known].astype(float), inside.labels[known])
        expected = model.predict_proba(vectors[inside.of(split)])
        found = made.probabilities[(made.rows["split"] == split).to_numpy()]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert found.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
