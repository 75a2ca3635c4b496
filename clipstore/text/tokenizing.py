"""Tokenizers of Hugging Face's tokenizers library, built and trained as an entry of params.yaml says.

Training on the same text gives the same tokenizer. The library alone does not promise that: where it marks tokens inside a word with a
prefix it numbers characters in a random order, and ties of frequency go by number; Unigram's scores differ in the last bits, and with them
the order of its pieces. Characters are therefore numbered in order of their code points, scores rounded, and pieces of one score put in
order.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import tokenizers
from pydantic import AfterValidator, Field, model_validator
from tokenizers import Tokenizer
from tokenizers.decoders import Decoder
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordLevelTrainer, WordPieceTrainer

from clipstore.core.errors import InputError
from clipstore.core.params import Section

TRAINERS = {"BPE": BpeTrainer, "WordPiece": WordPieceTrainer, "Unigram": UnigramTrainer, "WordLevel": WordLevelTrainer}
OPTIONS = {  # of the trainers, which ignore unknown ones silently
    "BPE": ("min_frequency", "limit_alphabet", "continuing_subword_prefix", "end_of_word_suffix", "max_token_length"),
    "WordPiece": ("min_frequency", "limit_alphabet", "continuing_subword_prefix", "end_of_word_suffix"),
    "Unigram": ("shrinking_factor", "max_piece_length", "n_sub_iterations"),
    "WordLevel": ("min_frequency",),
}
STEP = 1e-4  # the library's, between the scores of characters that it put back
DIGITS = 9  # of a score, of which some 15 are the same in two trainings


class Part(Section):
    """A component of the library by its name there, ``{type: Metaspace}``, and what its constructor takes besides."""

    model_config = Section.model_config | {"extra": "allow"}
    type: str = Field(description="Name of the component in the tokenizers library; other keys are arguments of its constructor.")

    def built(self, module: str) -> Any:
        """Return the component from a module of the library: normalizers, pre_tokenizers or decoders."""
        return getattr(getattr(tokenizers, module), self.type)(**(self.model_extra or {}))


def _of(module: str, base: type) -> AfterValidator:
    members = vars(getattr(tokenizers, module))
    known = sorted(name for name, kind in members.items() if isinstance(kind, type) and issubclass(kind, base) and kind is not base)

    def check(part: Part) -> Part:
        if part.type not in known:
            raise ValueError(f"expected a type of the library's {module} ({', '.join(known)}), found {part.type}")
        try:
            component = part.built(module)
        except (TypeError, ValueError) as error:
            raise ValueError(f"of type {part.type}: {error}") from None
        taken = (
            json.loads(component.__getstate__()) if part.type == "ByteLevel" else part.model_extra
        )  # the only one that takes any keyword
        if unknown := sorted(set(part.model_extra or {}) - set(taken or {})):
            raise ValueError(f"of type {part.type}: unexpected {unknown[0]}")
        return part

    return AfterValidator(check)


class Entry(Section):
    """How a tokenizer is built and trained."""

    model: Literal["BPE", "WordPiece", "Unigram", "WordLevel"] = Field(description="Model of the tokenizers library.")
    normalizer: tuple[Annotated[Part, _of("normalizers", Normalizer)], ...] = Field(
        default=(), description="Normalizers, applied in this order."
    )
    pre_tokenizer: tuple[Annotated[Part, _of("pre_tokenizers", PreTokenizer)], ...] = Field(
        min_length=1, description="Pre-tokenizers, applied in this order."
    )
    decoder: Annotated[Part, _of("decoders", Decoder)] = Field(description="Decoder, which turns tokens back into text.")
    unknown: str | None = Field(
        default=None,
        description="Token for characters missing from the vocabulary, for example [UNK]; only byte-level vocabularies need none.",
    )
    trainer: Mapping[str, bool | int | float | str] = Field(
        default={}, description="Further options of the model's trainer, for example min_frequency."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Entry":
        if self.unknown is None and not self.of_bytes:
            raise ValueError("unknown is missing: the token for what the vocabulary lacks, for example '[UNK]' (only ByteLevel needs none)")
        if unknown := [key for key in self.trainer if key not in OPTIONS[self.model]]:
            raise ValueError(f"trainer.{unknown[0]}: expected one of {', '.join(OPTIONS[self.model])}")
        try:
            self._trainer(1, [])
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"trainer: {error}") from None
        return self

    @property
    def of_bytes(self) -> bool:
        """Whether tokens are made of bytes instead of characters."""
        return any(part.type == "ByteLevel" for part in self.pre_tokenizer)

    def untrained(self) -> Tokenizer:
        """Return the tokenizer without a vocabulary."""
        models = tokenizers.models
        unknown = {} if self.unknown is None or self.model == "Unigram" else {"unk_token": self.unknown}
        tokenizer = Tokenizer(getattr(models, self.model)(**unknown))
        tokenizer.normalizer = tokenizers.normalizers.Sequence([part.built("normalizers") for part in self.normalizer])
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([part.built("pre_tokenizers") for part in self.pre_tokenizer])
        tokenizer.decoder = self.decoder.built("decoders")
        return tokenizer

    def _trainer(self, size: int, first: Sequence[str]) -> Any:
        """Return the model's trainer for ``size`` tokens, whose vocabulary starts with the tokens ``first``."""
        options: dict[str, Any] = dict(self.trainer)
        if self.model in ("BPE", "WordPiece") and self.of_bytes:
            options["initial_alphabet"] = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        if self.model == "Unigram" and self.unknown is not None:
            options["unk_token"] = self.unknown
        return TRAINERS[self.model](vocab_size=size, special_tokens=list(first), show_progress=False, **options)

    def alphabet(self, documents: Sequence[str]) -> list[str]:
        """Return the smallest vocabulary for the documents: the unknown token, then each character as the model marks it ("##a")."""
        special = [self.unknown] if self.unknown is not None else []
        if self.model == "WordLevel":
            return special
        entry = self if self.model != "Unigram" else self.model_copy(update={"model": "BPE", "trainer": {}})
        tokenizer = entry.untrained()
        tokenizer.train_from_iterator(documents, entry._trainer(1, special), len(documents))
        return special + sorted(set(tokenizer.get_vocab()) - set(special))

    def trained(self, documents: Sequence[str], size: int, alphabet: Sequence[str] | None = None) -> Tokenizer:
        """Return the tokenizer with a vocabulary learnt from the documents.

        Args:
            documents: the text.
            size: tokens of the vocabulary; fewer where the documents give no more.
            alphabet: what `alphabet` returns for the documents, if it is known.

        Raises:
            InputError: ``size`` is too small for the characters of the documents, or they have none.
        """
        special = [self.unknown] if self.unknown is not None else []
        if not any(document.strip() for document in documents):
            raise InputError("there is no text to learn from")
        alphabet = self.alphabet(documents) if alphabet is None else alphabet
        if size < len(alphabet):
            raise InputError(f"a vocabulary of {size} is too small: the characters alone are {len(alphabet)}")
        marked = [token for token in alphabet if len(token) > 1 and token not in special] if self.model in ("BPE", "WordPiece") else []
        tokenizer = self.untrained()
        try:
            tokenizer.train_from_iterator(documents, self._trainer(size, special + marked), len(documents))
        except Exception as error:  # the library's errors are plain ones
            raise InputError(f"a vocabulary of {size} cannot be learnt: {str(error).splitlines()[0]}") from None
        if tokenizer.get_vocab_size() > size:  # Unigram keeps all characters and some more
            raise InputError(f"a vocabulary of {size} is too small: the smallest has {tokenizer.get_vocab_size()} tokens")
        return _settled(tokenizer, special)


def _settled(tokenizer: Tokenizer, special: list[str]) -> Tokenizer:
    """Return the tokenizer without chance in it: see the module's docstring."""
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] in special]
    model = document["model"]
    if model["type"] == "Unigram":
        pieces = {piece: round(score, DIGITS) for piece, score in model["vocab"] if piece not in special}
        low = min(pieces.values())
        # Characters that were pruned come back at the lowest score, the next one STEP higher, and so on, in a random order.
        back = sorted(piece for piece, score in pieces.items() if len(piece) == 1 and _on_ladder(score - low, len(pieces)))
        pieces |= dict(zip(back, sorted(pieces[piece] for piece in back), strict=True))
        order = sorted(pieces.items(), key=lambda pair: (-pair[1], pair[0]))
        model["vocab"] = [(token, 0.0) for token in special] + order
    return Tokenizer.from_str(json.dumps(document))


def _on_ladder(height: float, rungs: int) -> bool:
    rung = round(height / STEP)
    return rung < rungs and abs(height - rung * STEP) < 2 * 10**-DIGITS
