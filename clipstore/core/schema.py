"""The tables of params.yaml: axes, data sets, prompts, encoders. A fact about one of them lives there and nowhere in Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from clipstore.core.digests import file_sha256
from clipstore.core.params import Section


def _prompt(text: str) -> str:
    if text.count("{}") != 1 or text.replace("{}", "").count("{") + text.replace("{}", "").count("}"):
        raise ValueError("a prompt holds {} exactly once, where the class name goes")
    return text


# No hyphen: DVC joins the values of a matrix by "-" and silently drops one of two cells of the same joined name.
Slug = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Prompt = Annotated[str, AfterValidator(_prompt)]
Prompts = Annotated[tuple[Prompt, ...], Field(min_length=1)]
Names = tuple[Slug, ...]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Axes(Section):
    """Which cells run: each list names entries of the tables."""

    download: Names
    datasets: Names
    weights: Names
    encoders: Names
    zero_shot: Names
    finetune: Names
    scratch: Names
    corpora: Names


class Garden(Section):
    """The drawn sample: ``train``, ``val`` and ``test`` images a class, ``size`` pixels square."""

    kind: Literal["garden"]
    image_size: int = Field(ge=32, le=512)
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


class Digits(Section):
    """The 1,797 scans of handwritten digits (8 x 8 pixels) that scikit-learn carries."""

    kind: Literal["digits"]


class Counts(Section):
    """Images of the official splits."""

    train: int = Field(ge=1)
    val: int = Field(default=0, ge=0)
    test: int = Field(ge=1)


class Official(Section):
    """Oxford 102 Flowers or Oxford-IIIT Pet, with their official splits and torchvision's addresses and checksums."""

    kind: Literal["flowers102", "pets"]
    images: Counts
    classes: int = Field(ge=2)
    megabytes: int = Field(ge=1)  # of its archives
    class_names: Literal["openai", "torchvision"]  # whose list
    root: Path | None = None  # an extracted copy, as torchvision lays it out: it is copied, nothing is fetched


class Folder(Section):
    """A user's own photographs in data/raw/NAME: class folders, or a manifest.csv or manifest.parquet."""

    kind: Literal["folder"]


class Digests(Section):
    """SHA-256 of the text of each split, as its makers first published it."""

    folder: str  # of the hub's repository
    train: Sha256
    val: Sha256
    test: Sha256


class WikiText(Section):
    """WikiText-2 from the Hugging Face hub: every word as it was written (raw), or rare ones as <unk> (tokenised)."""

    kind: Literal["wikitext2"]
    repository: str
    revision: str
    version: Literal["raw", "tokenised"]
    versions: Mapping[Literal["raw", "tokenised"], Digests]
    markup: Literal["keep", "undo"]  # of both versions: " @-@ ", blanks around marks
    megabytes: int = Field(ge=1)


class PythonDocs(Section):
    """The sample of English prose: the running Python's reference topics and its standard library's docstrings."""

    kind: Literal["python_docs"]


class Text(Section):
    """A user's own text in data/raw/NAME: .txt files, a document a line, or .parquet files with a column text."""

    kind: Literal["text"]


Texts = WikiText | PythonDocs | Text
Dataset = Annotated[Garden | Digits | Official | Folder | WikiText | PythonDocs | Text, Field(discriminator="kind")]


class LocalFile(Section):
    """Weights in a local file. Its SHA-256 stands in the entry, so that DVC notices another file under the same name."""

    file: Path
    sha256: Sha256 | None = None

    def problem(self) -> str | None:
        """Say what keeps the file from being used: asked of entries on an axis only, others may name files of another machine."""
        if not self.file.is_file():
            return f"no such file: {self.file}"
        if self.sha256 is None:
            return f"sha256 is missing; for {self.file} it is {file_sha256(self.file)}"
        return None


class GardenClip(Section):
    """A small CLIP, trained by the ``weights`` stage on captioned drawings of other flowers than the sample's."""

    source: Literal["garden"]
    image_size: int = Field(ge=32, le=512)  # pixels, square
    drawings: int = Field(ge=1)  # of every captioned flower
    steps: int = Field(ge=1)  # of the optimiser


class HubFile(Section):
    """Published weights, fetched from the Hugging Face hub; ``sha256``, where given, is what the file must have."""

    sha256: Sha256 | None = None


class OpenClipTag(HubFile):
    """open_clip's published weights of this architecture and tag."""

    source: Literal["open_clip"]
    architecture: str
    tag: str


class Torchvision(Section):
    """torchvision's published weights of this architecture, for example resnet34 and IMAGENET1K_V1; fetched from where it says."""

    source: Literal["torchvision"]
    architecture: str
    weights: str


class OpenClipFile(LocalFile):
    """An open_clip checkpoint: ``architecture`` as open_clip names it, with the tag it was trained under or its activation."""

    source: Literal["open_clip_file"]
    architecture: str
    tag: str | None = None
    activation: Literal["gelu", "quick_gelu"] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "OpenClipFile":
        if (self.tag is None) == (self.activation is None):
            raise ValueError("name either the tag or the activation: it cannot be told from the file")
        return self


class TimmPreprocess(Section):
    """What timm's evaluation transform needs: pixels, fractions of [0, 1] for mean and std, the crop as a fraction of the resized side."""

    size: int = Field(ge=16)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    crop_pct: float = Field(gt=0, le=1)


class Timm(Section):
    """An image encoder of timm, without a text tower."""

    architecture: str
    arguments: Mapping[str, Any] = {}  # of timm.create_model


class TimmTag(HubFile, Timm):
    """timm's published weights: ``architecture`` with its tag; preprocessing is the tag's own unless it is given."""

    source: Literal["timm"]
    preprocess: TimmPreprocess | None = None


class TimmFile(LocalFile, Timm):
    """A state dict in a local file."""

    source: Literal["timm_file"]
    preprocess: TimmPreprocess


Encoder = Annotated[GardenClip | OpenClipTag | OpenClipFile | Torchvision | TimmTag | TimmFile, Field(discriminator="source")]


class Training(Section):
    """How a network is trained; what is 0 is off."""

    epochs: int = Field(ge=1)  # over which the learning rate falls; the best one on val is taken
    batch_size: int = Field(ge=2)  # images, over all processes
    image_size: int = Field(ge=16)  # pixels, square
    lr: float = Field(gt=0)  # peak, of the head
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_epochs: float = Field(default=1, ge=0)  # epochs, linear; a cosine follows
    backbone_lr_scale: float = Field(default=1, gt=0, le=1)  # learning rate of the body's last layer, as a share of the new layer's
    layer_decay: float = Field(default=1, gt=0, le=1)  # of the body's first layer, as a share of its last one's; geometric in between
    freeze_backbone_epochs: int = Field(default=0, ge=0)  # in which only the new last layer learns
    freeze_batch_norm: bool = False  # BatchNorm keeps the statistics that it came with
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    mixup: float = Field(default=0, ge=0)  # alpha of its Beta distribution
    cutmix: float = Field(default=0, ge=0)
    trivial_augment: bool = False
    min_crop_scale: float = Field(default=0.35, gt=0, le=1)  # share of the image's area
    hflip_prob: float = Field(default=0, ge=0, le=1)  # probability of mirroring left and right
    crop_pct: float = Field(default=0.875, gt=0, le=1)  # of the shorter side, when judged
    dropout: float = Field(default=0, ge=0, lt=1)  # before the last layer
    ema_decay: float = Field(default=0, ge=0, lt=1)  # decay of the weights' moving average at each step
    grad_clip_norm: float = Field(default=1, ge=0)  # of the gradient's norm
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)  # added to `seed`; predictions are the first one's
    refit: bool = True  # on train + val, for the selected number of epochs
    test_curve: bool = True  # judge test after every epoch too, for the curves alone
    processes: int = Field(default=1, ge=1)  # started by torchrun
    workers: int = Field(default=0, ge=0)  # processes that augment

    @model_validator(mode="after")
    def _shares(self) -> "Training":
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size = {self.batch_size} is not a multiple of processes = {self.processes}")
        return self


class FineTune(Training):
    """Fine-tuning of the weights of the same name."""

    kind: Literal["finetune"]


class Scratch(Training):
    """Our own network (clipstore/training/network.py), trained from scratch."""

    kind: Literal["scratch"]
    widths: Annotated[tuple[Annotated[int, Field(ge=8)], ...], Field(min_length=1)]  # channels of each stage
    depths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]  # blocks of each stage
    stride: Literal[1, 2]  # of the stem
    drop_path: float = Field(default=0, ge=0, lt=1)  # probability to leave out the last block

    @model_validator(mode="after")
    def _stages(self) -> "Scratch":
        if len(self.widths) != len(self.depths):
            raise ValueError(f"{len(self.widths)} widths and {len(self.depths)} depths: one of each for every stage")
        return self


Net = Annotated[FineTune | Scratch, Field(discriminator="kind")]
