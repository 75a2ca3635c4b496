"""Draw the sample data set: flowers with class names that describe the drawings.

`images` takes the numbers of images per class, their size in pixels and a seed, and yields RGB images with split, class and number. The
module reads and writes no files.

A flower is a combination of petal colour, petal number, petal shape and centre colour. `TASK` contains the combinations that are classes
of the data set, `CAPTIONED` all others. A model trained on captions of `CAPTIONED` has seen every word of the class names, but no class.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[float, float, float]  # red, green, blue in [0, 255]

PETAL_COLOURS: dict[str, Colour] = {
    "red": (205, 30, 38),
    "orange": (238, 126, 28),
    "yellow": (244, 212, 44),
    "pink": (240, 138, 176),
    "purple": (132, 62, 160),
    "blue": (66, 98, 208),
    "white": (238, 236, 230),
}
CENTRE_COLOURS: dict[str, Colour] = {"yellow": (248, 208, 40), "brown": (84, 50, 28), "green": (122, 176, 58)}
NUMBERS: dict[str, int] = {"three": 3, "four": 4, "five": 5, "six": 6, "eight": 8}


class Shape(NamedTuple):
    """Half the outline of a petal of length 1: its largest half width, and points (position, share of that width) from base to tip."""

    half_width: float
    outline: tuple[tuple[float, float], ...]


SHAPES: dict[str, Shape] = {
    "round": Shape(0.40, ((0, 0.12), (0.2, 0.5), (0.4, 0.82), (0.6, 1), (0.8, 0.94), (0.92, 0.66), (0.98, 0.36), (1, 0))),
    "pointed": Shape(0.34, ((0, 0.2), (0.15, 0.62), (0.3, 0.94), (0.42, 1), (0.56, 0.86), (0.72, 0.5), (0.87, 0.2), (1.06, 0))),
    "narrow": Shape(0.13, ((0, 0.6), (0.3, 0.85), (0.6, 1), (0.84, 0.95), (0.96, 0.6), (1, 0))),
    "notched": Shape(0.42, ((0, 0.1), (0.3, 0.42), (0.6, 0.84), (0.8, 1), (0.93, 0.92), (1, 0.66), (0.98, 0.4), (0.9, 0.2), (0.7, 0))),
}
GROUNDS: tuple[Colour, ...] = ((58, 96, 48), (34, 62, 36), (104, 132, 70), (112, 88, 62), (150, 150, 120), (140, 165, 185))
OVERSAMPLING = 3


@dataclass(frozen=True)
class Flower:
    """One combination of attributes; each is a key of its table above."""

    colour: str
    number: str
    shape: str
    centre: str


def _task() -> tuple[Flower, ...]:
    """Combine every petal colour with every petal shape; number and centre cycle, so that each occurs with many colours."""
    numbers, shapes = tuple(NUMBERS), tuple(SHAPES)
    flowers = []
    for row, colour in enumerate(PETAL_COLOURS):
        centres = [centre for centre in CENTRE_COLOURS if centre != colour]
        for column, shape in enumerate(shapes):
            number = numbers[(2 * row + column) % len(numbers)]
            flowers.append(Flower(colour, number, shape, centres[(row + column) % len(centres)]))
    return tuple(flowers)


TASK = _task()
CAPTIONED = tuple(
    flower
    for flower in itertools.starmap(Flower, itertools.product(PETAL_COLOURS, NUMBERS, SHAPES, CENTRE_COLOURS))
    if flower.colour != flower.centre and flower not in TASK  # a centre in the petals' colour would be invisible
)


def name(flower: Flower) -> str:
    """Return the class name, which mentions every attribute."""
    return f"{flower.colour} flower with {flower.number} {flower.shape} petals and a {flower.centre} centre"


def caption(flower: Flower, rng: np.random.Generator) -> str:
    """Return one of several captions that mention every attribute; all are worded differently from `name`."""
    colour, number, shape, centre = flower.colour, flower.number, flower.shape, flower.centre
    wordings = (
        f"A flower in {colour}: {number} {shape} petals, {centre} centre.",
        f"A flower with {number} {shape} {colour} petals and a {centre} centre.",
        f"A drawing of {number} {shape} {colour} petals around a {centre} centre.",
        f"A type of flower: {colour}, its centre {centre}, with {number} {shape} petals.",
        f"A photo of a flower with a {centre} centre and {number} {shape} petals in {colour}.",
    )
    return wordings[rng.integers(len(wordings))]


def images(train: int, val: int, test: int, size: int, seed: int) -> Iterator[tuple[str, int, int, Image.Image]]:
    """Yield split, class (index into TASK), number within split and class, and RGB image (size, size) of each image.

    Every image has its own random generator, so adding images to a split does not change the others.
    """
    for position, (split, count) in enumerate({"train": train, "val": val, "test": test}.items()):
        for label, flower in enumerate(TASK):
            for number in range(count):
                yield split, label, number, draw(flower, np.random.default_rng([seed, position, label, number]), size)


def _rgb(colour: Colour | np.ndarray, gain: float = 1.0) -> tuple[int, int, int]:
    """Return a colour in Pillow's format, made lighter or darker by the factor ``gain``."""
    red, green, blue = (min(255, max(0, round(float(channel) * gain))) for channel in colour)
    return red, green, blue


def _leaf(foot: np.ndarray, angle: float, length: float, width: float) -> list[tuple[float, float]]:
    """Return the corners of a leaf or a blade of grass with its base at ``foot`` (x, y); angle in radians, the rest in pixels."""
    along = np.array((math.cos(angle), math.sin(angle)))
    across = np.array((-along[1], along[0])) * width
    corners = (foot, foot + along * length * 0.45 + across, foot + along * length, foot + along * length * 0.45 - across)
    return [(float(x), float(y)) for x, y in corners]


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Draw soft patches of one background colour with blurred leaves and distant flowers, RGB (size, size)."""
    ground = np.array(GROUNDS[rng.integers(len(GROUNDS))])
    patches = ground + rng.normal(0, 16, (5, 5, 1)) + rng.normal(0, 7, (5, 5, 3))
    image = Image.fromarray(patches.clip(0, 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(2, 7)):
        green = _rgb((70, 120, 55), rng.uniform(0.5, 1.3))
        pen.polygon(_leaf(rng.uniform(0, size, 2), rng.uniform(0, 2 * math.pi), size * rng.uniform(0.3, 0.7), size * 0.06), green)
    colours = tuple(PETAL_COLOURS.values())
    for _ in range(rng.integers(0, 3)):
        (x, y), radius = rng.uniform(0, size, 2), size * rng.uniform(0.04, 0.09)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), _rgb(colours[rng.integers(len(colours))], 0.85))
    return image.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.015, 0.04)))


def _petals(pen: ImageDraw.ImageDraw, flower: Flower, rng: np.random.Generator, place: np.ndarray, radius: float) -> None:
    """Draw a flower of this radius at ``place`` (x, y), in pixels of the canvas, viewed slightly from the side."""
    number, shape = NUMBERS[flower.number], SHAPES[flower.shape]
    colour = np.array(PETAL_COLOURS[flower.colour]) + rng.normal(0, 14, 3)
    half_width = min(shape.half_width, 0.66 * math.tan(math.pi / number)) * rng.uniform(0.9, 1.1)
    side = np.array(shape.outline) * (1, half_width)
    petal = np.concatenate((side, side[-2::-1] * (1, -1)))
    tilt, squash = rng.uniform(0, math.pi), rng.uniform(0.66, 1.0)
    axis = np.array((math.cos(tilt), math.sin(tilt)))
    view = np.eye(2) - (1 - squash) * np.outer(axis, axis)
    start = rng.uniform(0, 2 * math.pi)
    for index in rng.permutation(number):
        angle = start + 2 * math.pi * index / number + rng.normal(0, 0.06)
        turn = np.array(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))))
        length, light = radius * rng.uniform(0.9, 1.08), rng.uniform(0.88, 1.08)
        outline = petal * length @ turn @ view + place
        inner = (petal * (0.9, 0.84) + (0.04, 0)) * length @ turn @ view + place
        throat = (petal * (0.5, 0.45)) * length @ turn @ view + place
        for points, gain in ((outline, 0.62), (inner, 1.0), (throat, 0.86)):
            pen.polygon([(float(x), float(y)) for x, y in points], _rgb(colour, light * gain))
    centre = np.array(CENTRE_COLOURS[flower.centre]) + rng.normal(0, 10, 3)
    disc = radius * rng.uniform(0.2, 0.27)
    for share, gain in ((1.0, 0.6), (0.84, 1.0)):
        ring = np.array([(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 24)]) * disc * share @ view + place
        pen.polygon([(float(x), float(y)) for x, y in ring], _rgb(centre, gain))
    for x, y in rng.normal(0, 0.36, (7, 2)) * disc + place:
        pen.ellipse((x - disc * 0.1, y - disc * 0.1, x + disc * 0.1, y + disc * 0.1), _rgb(centre, 0.74))


def draw(flower: Flower, rng: np.random.Generator, size: int) -> Image.Image:
    """Draw one flower, RGB (size, size); ``rng`` decides background, position, size, rotation, view, light, blur and foreground."""
    canvas = size * OVERSAMPLING
    image = _background(rng, size).resize((canvas, canvas), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    place, radius = canvas * rng.uniform(0.36, 0.64, 2), canvas * rng.uniform(0.22, 0.4)
    foot = (canvas * rng.uniform(0.3, 0.7), canvas)
    pen.line(((float(place[0]), float(place[1])), foot), _rgb((62, 112, 46), rng.uniform(0.7, 1.2)), round(canvas * 0.03))
    _petals(pen, flower, rng, place, radius)
    for _ in range(rng.integers(0, 3)):  # blades of grass in front
        root = np.array((canvas * rng.uniform(0, 1), canvas))
        blade = _leaf(root, rng.uniform(-2.2, -0.9), canvas * rng.uniform(0.4, 0.9), canvas * rng.uniform(0.02, 0.05))
        pen.polygon(blade, _rgb((78, 128, 58), rng.uniform(0.6, 1.2)))
    image = image.filter(ImageFilter.BoxBlur(canvas * rng.uniform(0, 0.016))).reduce(OVERSAMPLING)
    slope = rng.normal(0, 0.2, 2) @ np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j].reshape(2, -1)
    light = rng.uniform(0.6, 1.2) * (1 + slope.reshape(size, size, 1)) * rng.normal(1, 0.07, 3)
    pixels = np.asarray(image) * light + rng.normal(0, 5, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
