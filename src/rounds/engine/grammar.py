"""What makes an engine obey an expression of `rounds.engine.schema`: its library's view of our vocabulary.

Both libraries are told the bytes of each token by our own Codec, control tokens as nothing, so that no grammar ever
yields one. OpenVINO GenAI has xgrammar inside; the reference engine asks llguidance for the tokens allowed next
(https://github.com/guidance-ai/llguidance). Left out on purpose: grammars while the model thinks.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds.engine.answering import Answering
from rounds.engine.schema import size_of
from rounds.model.tokenizer import Codec
from rounds.records import UserError

COMPILED = 60_000
"""Signs of all different expressions OpenVINO compiles in one process: it keeps every grammar for good, at 4.2 kB a
sign with a vocabulary of 4,094 tokens (benchmarks/README.md). The house's own schemas take 45 to 541 signs each."""


class Kept:
    """Which grammars a library that never lets one go has compiled: no client may fill the memory with them."""

    def __init__(self, most: int) -> None:
        """`most` is the sum of their signs."""
        self._most = most
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def admit(self, pattern: str, schema: str) -> None:
        """Count the grammar of a schema, once.

        Raises:
            UserError: it is new, and there is no room for it.
        """
        with self._lock:
            size = size_of(schema)
            if pattern not in self._sizes and sum(self._sizes.values()) + size > self._most:
                raise UserError(
                    f"this engine keeps the grammar of every JSON schema it is asked for, {len(self._sizes)} different "
                    "ones so far, and has no room for another; send one of those again, or start it anew."
                )
            self._sizes[pattern] = size


def tokenizer_for(codec: Codec) -> Any | None:
    """An `openvino_genai.Tokenizer` that knows the bytes of each token and nothing else; None without such bytes.

    GenAI takes a vocabulary for its grammars from a detokenizer on disk alone, hence the folder.
    """
    vocabulary = codec.token_bytes()
    if vocabulary is None:
        return None
    import numpy as np
    import openvino
    import openvino.opset15 as operations
    import openvino_genai
    from openvino_tokenizers import _get_factory  # its build_* functions want regular text, not bytes

    ends = np.cumsum([len(token) for token in vocabulary]).astype(np.int32)
    starts = np.concatenate([np.zeros(1, np.int32), ends[:-1]])
    ids = operations.parameter(openvino.PartialShape(["?", "?"]), openvino.Type.i64)
    inputs = [operations.convert(ids, "i32")]
    inputs += [operations.constant(part) for part in (starts, ends, np.frombuffer(b"".join(vocabulary), np.uint8))]
    decoder = _get_factory().create("VocabDecoder", [node.output(0) for node in inputs])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "openvino_detokenizer.xml"
        openvino.save_model(openvino.Model(decoder.outputs(), [ids], "vocabulary"), path, compress_to_fp16=False)
        return openvino_genai.Tokenizer(folder)


class Grammars:
    """For the reference engine: the vocabulary as llguidance sees it."""

    def __init__(self, codec: Codec, width: int) -> None:
        """`width` is the number of logits.

        Raises:
            UserError: llguidance is not installed, or the tokens are not spelled in bytes.
        """
        try:
            import llguidance
        except ImportError as error:
            raise UserError("a JSON schema on this engine needs llguidance; pip install llguidance.") from error
        vocabulary = codec.token_bytes()
        if vocabulary is None:
            raise no_bytes()
        self._new = llguidance.LLMatcher
        described = llguidance.TokenizerWrapper(_Described(codec, vocabulary))
        self._tokenizer = llguidance.LLTokenizer(described, n_vocab=width, eos_token=list(codec.eos_ids))
        self.width = width

    def matcher(self, pattern: str) -> Any:
        """The state of one answer before its first ruled token."""
        return self._new(self._tokenizer, self._new.grammar_from_regex(pattern), log_level=0)


class Allowed:
    """Which tokens may come next in each answer of a batch of the reference engine."""

    def __init__(self, codec: Codec, rows: Sequence[Answering], grammars: Grammars | None) -> None:
        """`grammars` may be None where no answer has a pattern."""
        self._codec, self._rows, self._grammars = codec, rows, grammars
        self._matchers: dict[int, Any] = {}
        """By the place of the answer, from its first ruled token on."""

    def mask(self, logits: Any, places: Sequence[int], waiting: Sequence[Sequence[int]]) -> None:
        """Put minus infinity on what may not come next.

        logits: (places, width), changed in place.
        waiting: tokens that are forced on each answer before it goes on by itself.

        Raises:
            UserError: a grammar outgrew the limits of its library.
        """
        if self._grammars is None:
            return
        import numpy as np
        import torch

        for line, place in enumerate(places):
            row = self._rows[place]
            if waiting[place] or row.finish is not None or not row.ruled(self._codec):
                continue
            if place not in self._matchers:
                self._matchers[place] = self._grammars.matcher(row.pattern)
            bits = np.frombuffer(self._matchers[place].compute_bitmask(), dtype=np.uint8)
            if self._matchers[place].is_error():
                raise UserError("the JSON schema is too large for this engine; allow fewer or shorter values.")
            allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._grammars.width].astype(bool))
            logits[line].masked_fill_(~allowed.to(logits.device), float("-inf"))

    def took(self, place: int, token: int) -> None:
        """The answer at `place` went on with `token`."""
        if place in self._matchers and self._rows[place].finish is None:
            self._matchers[place].consume_token(token)


class _Described:
    """A tokenizer as llguidance wants it."""

    bos_token_id = None

    def __init__(self, codec: Codec, vocabulary: list[bytes]) -> None:
        self.eos_token_id = codec.eos_ids[0]
        self.tokens = vocabulary
        self.special_token_ids = sorted(codec.control_ids)
        self._codec = codec

    def __call__(self, text: str) -> list[int]:
        return self._codec.encode_text(text)


def no_bytes() -> UserError:
    """The sentence for a vocabulary that no grammar can be laid over."""
    return UserError("a JSON schema needs a byte-level vocabulary, and this model's is not; leave the schema out.")
