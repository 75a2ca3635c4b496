"""The sides that benchmarks.embedding compares, each in a process of its own: python -m benchmarks.sides SIDE SETTING.

SETTING is a `Setting` as JSON. The process loads the model, prints a line of JSON with a description of itself, or with the package that is
missing, and then embeds the data set that each line on its standard input names. For every one it prints a line of JSON: the number of
images, the seconds in which they were embedded, and from our side the whole record of the stage. The working folder has data/raw/DATASET
with the images, data/index and data/weights.

Neither DVC nor anything that only the pipeline's evaluations need is imported, and the peers' sides import nothing of this project except
the module that makes torchvision importable.
"""

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ENCODER = "random"
TORCHVISION = "clipstore.encoders.vision"  # imported before a peer imports torchvision, some builds of which fail without it
Run = Callable[[str, str], dict[str, Any]]  # of a data set, with the row cache in a folder


@dataclass(frozen=True)
class Setting:
    """What all sides share.

    Attributes:
        architecture: open_clip's name for it.
        weights: the safetensors file.
        precision: of our side and the encoder alone.
        batch: images per batch of the peers; ours is in the parameters.
        workers: processes of the peers' DataLoaders.
        parameters: the content of params.yaml, with the options of the command line.
    """

    architecture: str
    weights: str
    precision: str
    batch: int
    workers: int
    parameters: dict[str, Any]

    def json(self) -> str:
        """Return the argument of this module's command line."""
        return json.dumps(asdict(self))


def timed(count: int, function: Callable[[], object]) -> dict[str, Any]:
    """Return the seconds that ``function`` takes for ``count`` images; it ends by copying its result from the device."""
    start = time.perf_counter()
    function()
    return {"images": count, "seconds": time.perf_counter() - start}


def ours(setting: Setting) -> tuple[str, Run]:
    """Run the stage embed_images: its own figure counts from the loaded model to the last vector, with the writing of the row cache."""
    from clipstore.core import caches, params, stage
    from stages import embed_images

    setattr(params, "load", lambda: setting.parameters)  # noqa: B010  DVC would read the file

    def run(dataset: str, cache: str) -> dict[str, Any]:
        os.environ |= {caches.VARIABLE: cache, "DVC_STAGE": f"embed_images@{ENCODER}-{dataset}"}
        sys.argv = ["embed_images", ENCODER, dataset]
        stage.run(embed_images.main)
        record = json.loads(stage.RUNS.read_text().splitlines()[-1])
        return {"images": record["images"], "seconds": record["images"] / record["images_per_second"], "record": record}

    settings = setting.parameters["embed_images"]
    return "embed_images, " + ", ".join(f"{name} {value}" for name, value in settings.items()), run


def encoder(setting: Setting) -> tuple[str, Run]:
    """Run open_clip's encode_image on one prepared batch, in our precision and batch size: the most that any feeding can reach."""
    import torch

    from clipstore.data import index
    from clipstore.encoders.precision import compute_float32_exactly, device
    from clipstore.encoders.vision import open_clip

    compute_float32_exactly()
    model = open_clip.create_model(setting.architecture, pretrained=setting.weights).eval()
    size, dtype = model.visual.image_size, getattr(torch, setting.precision)
    model = model.to(device(), dtype, memory_format=torch.channels_last)
    batch_size = setting.parameters["embed_images"]["batch_size"]
    batch = torch.randn(batch_size, 3, *(size if isinstance(size, tuple) else (size, size)))
    batch = batch.to(device(), dtype, memory_format=torch.channels_last)

    def run(dataset: str, _: str) -> dict[str, Any]:
        batches = -(-len(index.read(dataset).rows) // batch_size)

        def embed() -> None:
            with torch.inference_mode():
                for _ in range(batches):
                    vectors = model.encode_image(batch)
                vectors.float().cpu()

        return timed(batches * batch_size, embed)

    return f"one batch of {batch_size} in memory, {setting.precision}", run


def decoding(_: Setting) -> tuple[str, Run]:
    """Decode with the stage's own function on one thread per core, and drop the pixels."""
    from clipstore.data import images, index

    threads = os.cpu_count() or 1

    def run(dataset: str, _: str) -> dict[str, Any]:
        rows = index.read(dataset).rows

        def load(path: str, sha256: str) -> None:
            images.load(path, sha256, "ignore")

        def embed() -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(load, rows["path"], rows["sha256"]))

        return timed(len(rows), embed)

    return f"{threads} threads", run


def open_clip_loop(setting: Setting) -> tuple[str, Run]:
    """Run the loop of open_clip's README: encode_image in float32 on the batches of a DataLoader."""
    import torch
    from PIL import Image

    from clipstore.encoders.vision import open_clip

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _, transform = open_clip.create_model_and_transforms(setting.architecture, pretrained=setting.weights, device=device)
    model.eval()

    class Files(torch.utils.data.Dataset[Any]):
        def __init__(self, dataset: str) -> None:
            self.paths = sorted(Path("data/raw", dataset).glob("*/*"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, position: int) -> Any:
            return transform(Image.open(self.paths[position]))

    def run(dataset: str, _: str) -> dict[str, Any]:
        files = Files(dataset)

        def embed() -> None:
            loader: Any = torch.utils.data.DataLoader(files, setting.batch, num_workers=setting.workers)
            with torch.inference_mode():
                torch.cat([model.encode_image(batch.to(device)).cpu() for batch in loader])

        return timed(len(files), embed)

    return f"open_clip_torch {version('open_clip_torch')}, float32, {loading(setting)}", run


def clip_benchmark(setting: Setting, amp: bool = False) -> tuple[str, Run]:
    """Run CLIP_benchmark's zero-shot classification on an image folder, with a classifier of two classes that needs no text tower."""
    import torch
    from clip_benchmark.metrics.zeroshot_classification import run_classification
    from clip_benchmark.models import load_clip
    from torchvision.datasets import ImageFolder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, transform, _tokenizer = load_clip("open_clip", setting.architecture, setting.weights, cache_dir="", device=device)
    model.eval()
    width = model.encode_image(torch.zeros(1, 3, *[transform.transforms[0].size] * 2, device=device)).shape[1]
    classifier = torch.zeros(width, 2, device=device)

    def run(dataset: str, _: str) -> dict[str, Any]:
        images = ImageFolder(f"data/raw/{dataset}", transform)

        def embed() -> None:
            loader: Any = torch.utils.data.DataLoader(images, setting.batch, shuffle=False, num_workers=setting.workers)
            run_classification(model, classifier, loader, device, amp=amp)

        return timed(len(images), embed)

    kind = "amp" if amp else "float32"
    return f"clip_benchmark {version('clip_benchmark')}, {kind}, {loading(setting)}", run


def clip_benchmark_amp(setting: Setting) -> tuple[str, Run]:
    """Run the same with automatic mixed precision, CLIP_benchmark's default."""
    return clip_benchmark(setting, amp=True)


def clip_retrieval(setting: Setting) -> tuple[str, Run]:
    """Run clip-retrieval's inference on a folder; the time is the one in its own statistics, without loading the model."""
    from clip_retrieval.clip_inference.main import main as clip_inference

    def run(dataset: str, _: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as output:
            clip_inference(
                input_dataset=f"data/raw/{dataset}",
                output_folder=output,
                batch_size=setting.batch,
                num_prepro_workers=setting.workers,
                enable_text=False,
                clip_model=f"open_clip:{setting.architecture}/{setting.weights}",
            )
            statistics = json.loads(Path(output, "stats/0.json").read_text())
        return {"images": statistics["sample_count"], "seconds": statistics["total_duration"]}

    return f"clip_retrieval {version('clip_retrieval')}, {loading(setting)}", run


def loading(setting: Setting) -> str:
    """Return how a peer's DataLoader is set."""
    return f"batches of {setting.batch}, {setting.workers} workers"


OWN = {"ours": ours, "encoder": encoder, "decoding": decoding, "open_clip": open_clip_loop}
PEERS = {"clip_benchmark": clip_benchmark, "clip_benchmark_amp": clip_benchmark_amp, "clip_retrieval": clip_retrieval}


def main(name: str, text: str) -> None:
    """Embed what standard input asks for."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the libraries print
    try:
        importlib.import_module(TORCHVISION)
        description, run = (OWN | PEERS)[name](Setting(**json.loads(text)))
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}), file=answers)
        return
    print(json.dumps({"description": description}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(run(request["dataset"], request["cache"])), file=answers)


if __name__ == "__mp_main__":  # a process that clip-retrieval spawns for its statistics
    importlib.import_module(TORCHVISION)
if __name__ == "__main__":
    main(*sys.argv[1:])
