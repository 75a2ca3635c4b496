"""How open_clip's tokenizers read texts: the length in tokens, before a text is cut to the context length, and the tokens themselves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipstore.encoders.info import EncoderInfo


class Tokenized(NamedTuple):
    """Texts as a text tower receives them.

    Attributes:
        tokens: int64 (n, context length), cut or padded.
        lengths: tokens of each text with the special ones, before it is cut.
    """

    tokens: npt.NDArray[np.int64]
    lengths: list[int]

    @property
    def cut(self) -> list[int]:
        """Positions of the texts of which the end is missing in ``tokens``."""
        return [position for position, length in enumerate(self.lengths) if length > self.tokens.shape[1]]


def tokenized(info: EncoderInfo, texts: Sequence[str]) -> Tokenized:
    """Read texts with the tokenizer in the encoder's folder of weights."""
    from clipstore.encoders.open_clip import tokenizer  # its library takes seconds

    tokenize = tokenizer(info)
    return Tokenized(tokenize(list(texts)).numpy(), [_length(tokenize, text) for text in texts])


def _length(tokenize: Any, text: str) -> int:
    """Return the number of tokens that the text would have without a limit.

    Args:
        tokenize: open_clip's SimpleTokenizer, or its HFTokenizer, which wraps one of transformers.
        text: before the tokenizer's own clean-up.
    """
    if hasattr(tokenize, "encode"):
        return len(tokenize.encode(text)) + 2  # start and end
    cleaned = tokenize.clean_fn(text)
    if tokenize.tokenizer_mode == "clips":
        return len(tokenize.tokenizer(cleaned, add_special_tokens=False, verbose=False).input_ids) + 3  # start, end and class
    return len(tokenize.tokenizer(cleaned, truncation=False, verbose=False).input_ids)
