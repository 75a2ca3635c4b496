"""Compare the speed of embed_images with its neighbours: python -m benchmarks.embedding [PART] [options], or `make bench`.

Parts, by default all of them, each with --help:

    speed   500-pixel JPEGs, or those of --images: ours, the peers, the encoder alone and decoding alone
    large   the same for JPEGs of 12 megapixels
    memory  peak memory of our side for half of the images and for all
    added   time to add 1 % of images to an embedded data set

All sides embed the same files with the same random weights on the same device, each in a process of its own (benchmarks/sides.py) that has
loaded its model. They take turns in every round; medians are printed, and the ratio of our speed to theirs is the median of the ratios
of the rounds. A side that is too slow to embed all images in --limit seconds gets fewer of them. `make bench-peers` installs the peers into
.venv-peers; those that are missing are named and left out. DVC is not needed.
"""

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch
import yaml  # type: ignore[import-untyped]  # a dependency of timm; ruamel.yaml comes with DVC
from PIL import Image

from benchmarks import sides
from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.data import garden, images
from clipstore.data import index as index_file
from clipstore.encoders.open_clip import write_folder
from clipstore.encoders.precision import device, hardware
from clipstore.encoders.vision import open_clip
from stages.embed_images import AUTO_BATCH, EmbedImages

PROJECT = Path(__file__).parent.parent
PEERS = PROJECT / ".venv-peers/bin/python"
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # that every side reads
DISTINCT = 32  # drawings; further images repeat them with another number in the first pixels
WARM = 16  # images that each side embeds first; they are not measured
PILOT_SECONDS = 2.0  # a run of at least this length tells how fast a side is
SMALL, LARGE = (500, 375), (4000, 3000)  # pixels
LARGEST_BATCH = 64  # of the peers; CLIP_benchmark's default


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line and exits with 1, as the stages do."""

    def error(self, message: str) -> NoReturn:
        """Raise an InputError."""
        raise InputError(f"{self.prog}: {message}")


class Side:
    """A process of benchmarks.sides.

    Attributes:
        description: the package and how it is set.
        problem: why the side cannot be measured, or "".
        last: the last answer.
    """

    def __init__(self, name: str, python: str, setting: sides.Setting) -> None:
        """Start the process and wait until it has loaded its model."""
        self.name, self.problem, self.log = name, "", Path(f"{name}.log")
        command = [python, "-m", "benchmarks.sides", name, setting.json()]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
        pipe = subprocess.PIPE
        print(f"{name}: loading", file=sys.stderr)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment)
        answer = self.last = self._answer()
        self.description = answer.get("description", "")
        if "missing" in answer:
            self.problem = f"missing: {python} has no module {answer['missing']!r}; `make bench-peers` installs the peers"

    def run(self, dataset: str, cache: Path) -> dict[str, Any]:
        """Return the number of images, the seconds and, from our side, the record of one run; {} if the process ended.

        Raises:
            InputError: our side ended.
        """
        assert self.process.stdin
        print(json.dumps({"dataset": dataset, "cache": str(cache.absolute())}), file=self.process.stdin, flush=True)
        self.last = self._answer()
        if not self.problem:
            print(f"{self.name}: {self.last['images'] / self.last['seconds']:.1f} images/s, {dataset}", file=sys.stderr)
        return self.last

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        status = self.process.wait()
        last = (self.log.read_text().strip().splitlines() or ["no output"])[-1]
        self.problem = f"failed with exit status {status}: {last}"
        if self.name == "ours":
            raise InputError(f"ours {self.problem}")
        return {}

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Images:
    """The images of one part, and the data sets made of them."""

    def __init__(self, part: str, paths: Sequence[Path], count: int) -> None:
        """Read every file once, to measure ``count`` images and warm up with the others, at least one.

        Copies and files that cannot be decoded are left out, with a line that counts them.

        Raises:
            InputError: fewer than two images are left.
        """
        self.part = part
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            facts = list(pool.map(partial(images.examine, exif="ignore"), paths))
        rows = pd.DataFrame(facts, columns=images.Facts._fields).assign(source=[str(path.absolute()) for path in paths])
        rows = rows[rows["status"] == "ok"].drop_duplicates("sha256", ignore_index=True)
        if len(rows) < len(paths):
            print(f"{len(paths) - len(rows)} of {len(paths)} files left out: copies, or not decodable")
        if len(rows) < 2:
            raise InputError(f"{paths[0].parent}: {len(rows)} usable image(s), expected at least 2")
        self.warm = max(1, len(rows) - count)
        self.rows = rows

    def __len__(self) -> int:
        """Return the number of images that are measured."""
        return len(self.rows) - self.warm

    def warm_up(self) -> str:
        """Return a data set of the images that are not measured."""
        return self._dataset(f"{self.part}_warm", self.rows[: self.warm])

    def first(self, count: int) -> str:
        """Return a data set of the first ``count`` images."""
        return self._dataset(f"{self.part}_{count}", self.rows[self.warm : self.warm + count])

    def _dataset(self, name: str, rows: pd.DataFrame) -> str:
        """Write the index and, in folders of two classes, links to the files."""
        if index_file.path_of(name).exists():
            return name
        labels = np.arange(len(rows)) % 2
        ids = [
            f"{label}/{number:06}{Path(source).suffix.lower()}"
            for number, (label, source) in enumerate(zip(labels, rows["source"], strict=True))
        ]
        paths = [f"data/raw/{name}/{image_id}" for image_id in ids]
        for path, source in zip(paths, rows["source"], strict=True):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).symlink_to(source)
        table = rows.assign(image_id=ids, path=paths, label=labels, class_name=labels.astype(str), split="train", purpose="")
        index_file.write(index_file.Index(name, table[index_file.SCHEMA.names], {"classes": ["0", "1"]}))
        return name


def drawn(part: str, count: int, size: tuple[int, int]) -> list[Path]:
    """Draw JPEGs of ``size`` pixels; return their paths."""
    folder = Path("drawn", part)
    folder.mkdir(parents=True)

    def draw(number: int) -> Image.Image:
        flower = garden.TASK[number % len(garden.TASK)]
        return garden.draw(flower, np.random.default_rng(number), 256).resize(size, Image.Resampling.BICUBIC)

    def save(number: int) -> Path:
        image = drawings[number % DISTINCT].copy()
        image.paste(tuple(number.to_bytes(3, "little")), (0, 0, 16, 16))  # a block of JPEG, so that no two files are equal
        path = folder / f"{number:06}.jpg"
        image.save(path, quality=92)
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawings = list(pool.map(draw, range(min(count, DISTINCT))))
        return list(pool.map(save, range(count)))


def found(folder: Path, count: int) -> list[Path]:
    """Return at most ``count`` image files below a folder, evenly spread over their sorted paths.

    Raises:
        InputError: there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"--images {folder}: expected a folder with images ({', '.join(SUFFIXES)}), found none")
    return [paths[position] for position in np.unique(np.linspace(0, len(paths) - 1, count).astype(int))]


def write_weights(architecture: str) -> Path:
    """Write random weights, if they are not there yet; return their file.

    Raises:
        InputError: open_clip has no such architecture.
    """
    folder = Path("data/weights", sides.ENCODER)
    if not folder.exists():
        config = open_clip.get_model_config(architecture)
        if config is None:
            raise InputError(f"--architecture {architecture}: open_clip has no such model")
        torch.manual_seed(0)
        write_folder(sides.ENCODER, open_clip.create_model(architecture, pretrained=None), architecture, config, "random")
    return (folder / "open_clip_model.safetensors").absolute()


@contextmanager
def copied(cache: Path) -> Iterator[Path]:
    """Copy a row cache for one run."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        yield Path(shutil.copytree(cache, folder, dirs_exist_ok=True))


def affordable(side: Side, pictures: Images, cache: Path, limit: float, batch: int) -> int:
    """Return how many images a side embeds in ``limit`` seconds, at most all of them, in whole batches of ours; 0 if it fails.

    The first runs are short, since a DataLoader takes seconds to start its workers.
    """
    side.run(pictures.warm_up(), cache)
    count = min(WARM, len(pictures))
    while not side.problem:
        with copied(cache) as own:
            answer = side.run(pictures.first(count), own)
        if side.problem:
            break
        if count == len(pictures) or answer["seconds"] >= PILOT_SECONDS:
            count = max(1, min(len(pictures), int(limit * answer["images"] / answer["seconds"])))
            return count - count % batch or count  # a part of a batch would be padded to a whole one
        count = min(4 * count, len(pictures))
    return 0


def speed(options: argparse.Namespace) -> None:
    """Print the table of images per second and ratios."""
    pictures = prepared(options)
    setting = shared(options, len(pictures))
    cache = Path("cache", options.part)
    cache.mkdir(parents=True)
    batch = setting.parameters["embed_images"]["batch_size"]
    with ExitStack() as stack:
        running, counts = {}, {}
        for name in options.sides:
            python = str(options.peers) if name in sides.PEERS and options.peers.exists() else sys.executable
            side = stack.enter_context(closing(Side(name, python, setting)))
            counts[name] = 0 if side.problem else affordable(side, pictures, cache, options.limit, batch)
            running[name] = side
            if name == "ours":
                setting = dataclasses.replace(setting, precision=side.last["record"]["precision"])
        speeds: dict[str, list[float]] = {name: [] for name, side in running.items() if not side.problem}
        for _ in range(options.runs):
            for name in speeds:
                if running[name].problem:
                    continue  # it failed in an earlier round
                with copied(cache) as own:
                    answer = running[name].run(pictures.first(counts[name]), own)
                speeds[name].append(answer["images"] / answer["seconds"] if answer else float("nan"))
    print(f"\n{title(options, pictures)}, random {options.architecture}, {environment()}; median of {options.runs}\n")
    print("| | images/s | ours is | images | what runs | command |\n|---|---|---|---|---|---|")
    for name, side in running.items():
        if side.problem:
            continue
        ratio = statistics.median(mine / theirs for mine, theirs in zip(speeds["ours"], speeds[name], strict=True))
        median, command = statistics.median(speeds[name]), f"`{options.command} --sides {name}`"
        print(f"| {name} | {median:.1f} | {ratio:.2f} times | {counts[name]} | {side.description} | {command} |")
    for name, side in running.items():
        if side.problem:
            print(f"\n{name}: {side.problem}")


def memory(options: argparse.Namespace) -> None:
    """Print the peak memory of our side, in two processes with empty row caches."""
    pictures = prepared(options)
    setting = shared(options, len(pictures))
    print(f"\n{title(options, pictures)}, {environment()}: peak memory of embed_images, nothing cached (`{options.command}`)\n")
    print("| images | MiB |\n|---|---|")
    for count in (len(pictures) // 2, len(pictures)):
        cache = Path("cache", f"{options.part}_{count}")
        with closing(Side("ours", sys.executable, setting)) as side:
            record = side.run(pictures.first(count), cache)["record"]
        print(f"| {record['images']} | {record['peak_mib']:.0f} |")


def added(options: argparse.Namespace) -> None:
    """Print the time of the whole stage for all images, and for 1 % more with the row cache of the first run."""
    pictures = prepared(options)
    setting = shared(options, len(pictures))
    cache, base = Path("cache", options.part), len(pictures) - max(1, len(pictures) // 101)
    more, starts = [], []
    with closing(Side("ours", sys.executable, setting)) as side:
        side.run(pictures.warm_up(), cache)
        with copied(cache) as own:
            full = side.run(pictures.first(base), own)["record"]
            for _ in range(options.runs):
                with copied(own) as warm:
                    more.append(side.run(pictures.first(len(pictures)), warm)["record"]["seconds"])
                with copied(cache) as empty:
                    one = side.run(pictures.first(1), empty)
                starts.append(one["record"]["seconds"] - one["seconds"])
    seconds, start = statistics.median(more), statistics.median(starts)
    print(f"\n{title(options, pictures)}, {environment()}; seconds of embed_images, median of {options.runs} (`{options.command}`)\n")
    print(f"| {base} images | {len(pictures) - base} more | start of a run | without it, the share of the full time |\n|---|---|---|---|")
    print(f"| {full['seconds']:.1f} | {seconds:.1f} | {start:.1f} | {max(0.0, seconds - start) / full['seconds']:.1%} |")


def prepared(options: argparse.Namespace) -> Images:
    """Draw the images, or find those of --images, and at least as many more as the sides need to warm up."""
    count = options.count + min(WARM, options.count)
    paths = found(options.images, count) if options.images else drawn(options.part, count, options.size)
    return Images(options.part, paths, options.count)


def shared(options: argparse.Namespace, count: int) -> sides.Setting:
    """Return what all sides share. The peers' batches are so small that every worker gets at least four of them.

    Raises:
        InputError: an option of our side has a wrong value.
    """
    parameters: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())
    given = {name: value for name in EmbedImages.model_fields if (value := getattr(options, name)) is not None}
    settings = check(EmbedImages, parameters["embed_images"] | given, "embed_images")
    batch_size = AUTO_BATCH[device()] if settings.batch_size == "auto" else settings.batch_size
    parameters["embed_images"] = settings.model_dump(mode="json") | {"batch_size": batch_size}
    batch = min(LARGEST_BATCH, max(1, count // (4 * options.workers)))
    weights = write_weights(options.architecture)
    return sides.Setting(options.architecture, str(weights), settings.precision, batch, options.workers, parameters)


def title(options: argparse.Namespace, pictures: Images) -> str:
    """Return which images and how many."""
    width, height = (int(pictures.rows[side].median()) for side in ("width", "height"))
    kind = f"images of {options.images.name}" if options.images else "drawn JPEGs"
    return f"{options.part}: {len(pictures)} {kind}, {width} x {height} pixels (median)"


def environment() -> str:
    """Return machine, versions and date."""
    return f"{hardware()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, {date.today()}"


# For each part: its function, the size of the drawn images, and their number on a CPU and on a GPU.
PARTS = {
    "speed": (speed, SMALL, (256, 4096)),
    "large": (speed, LARGE, (64, 512)),
    "memory": (memory, SMALL, (512, 4096)),
    "added": (added, SMALL, (1010, 10100)),
}


def positive(text: str) -> int:
    """Return a number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def side_names(text: str) -> list[str]:
    """Return the names in a list with commas, ours first: ratios need it."""
    known = [*sides.OWN, *sides.PEERS]
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r}: expected some of {','.join(known)}")
    return ["ours", *(name for name in known[1:] if name in text.split(","))]


def parser() -> Parser:
    """Return the parser, with a subparser for each part."""
    described = sys.modules[__name__].__doc__ or ""
    whole = Parser(prog="python -m benchmarks.embedding", description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = whole.add_subparsers(dest="part", metavar="PART", parser_class=Parser)
    at = torch.cuda.is_available()
    for name, (function, size, counts) in PARTS.items():
        part = subparsers.add_parser(name, description=function.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        part.set_defaults(size=size)
        part.add_argument("--images", type=lambda text: Path(text).absolute(), metavar="FOLDER", help="images instead of drawn ones")
        part.add_argument("--count", type=positive, default=counts[at], help="images")
        part.add_argument("--architecture", default="ViT-B-32-quickgelu", help="of open_clip, with random weights")
        part.add_argument("--workers", type=positive, default=os.cpu_count(), help="processes of each peer's DataLoader")
        if function is not memory:
            part.add_argument("--runs", type=positive, default=3, help="rounds, of which the median counts")
        if function is speed:
            part.add_argument("--sides", type=side_names, default=",".join([*sides.OWN, *sides.PEERS]), help="what to compare")
            part.add_argument("--limit", type=positive, default=30, help="seconds of a run; slower sides get fewer images")
            part.add_argument(
                "--peers", type=lambda text: Path(text).absolute(), default=PEERS, help="Python with the peers, else this one"
            )
        for field, about in EmbedImages.model_fields.items():
            part.add_argument(
                f"--{field.replace('_', '-')}", help=f"of our side instead of params.yaml's: {about.description}".replace("%", "%%")
            )
    return whole


def main(arguments: Sequence[str]) -> None:
    """Run one part, or all."""
    options = parser().parse_args(arguments)
    parts = [options] if options.part else [parser().parse_args([name]) for name in PARTS]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in parts:
            given = [part.part, *arguments[1:]]
            if "--sides" in given:
                del given[given.index("--sides") : given.index("--sides") + 2]
            part.command = shlex.join(["python", "-m", "benchmarks.embedding", *given])
            PARTS[part.part][0](part)
        os.chdir(PROJECT)  # the folder goes


if __name__ == "__main__":
    main(sys.argv[1:])
