"""How right an approach is on the images of a data set that were drawn at random: the only source of a stated accuracy.

Copies with the same bytes count once, as they were drawn.
"""

from dataclasses import dataclass, field

from clipstore.core.rows import NO_LABEL
from clipstore.data.index import Index
from clipstore.store.predictions import Predictions


@dataclass(frozen=True)
class RandomSample:
    """The images of a data set that were drawn at random, and how an approach answered those with a label.

    Attributes:
        hits: number of right answers.
        none: image_id of those that show none of the classes, which no answer is right for.
        labelled: number of images with a label, those in ``none`` among them.
        waiting: number of images without one yet.
    """

    hits: int = 0
    labelled: int = 0
    waiting: int = 0
    none: list[str] = field(default_factory=list)


def of(index: Index, approach: Predictions) -> RandomSample:
    """Return the random sample of a data set as an approach answered it."""
    rows = index.usable
    tested = rows[rows["purpose"] == "test"].drop_duplicates("sha256")
    labelled = tested[tested["label"] != NO_LABEL]
    answers = dict(zip(approach.test_ids, approach.test_answers.tolist(), strict=True))
    hits = sum(answers[image] == label for image, label in zip(labelled["image_id"], labelled["label"], strict=True))
    none = tested.loc[tested["label"] == NO_LABEL, "image_id"].tolist()
    return RandomSample(hits, len(tested), rows.loc[rows["purpose"] == "drawn", "sha256"].nunique(), none)
