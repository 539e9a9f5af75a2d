"""Text to token ids and back, in one place for training, engines and serving; and training a tokenizer.

User text can never become a control token: it is encoded by a copy of the tokenizer from which every added token has
been removed. Works on the `tokenizers` library alone (no torch, no transformers). Left out on purpose: SentencePiece
models without a tokenizer.json, and chat templates of checkpoints (`rounds.model.chat`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from rounds import files
from rounds.model import chat as chats
from rounds.model.chat import END_THINK, THINK, Control
from rounds.records import Message, UserError

CHAT_FILE = "chat.json"
FILES = ("tokenizer.json", "tokenizer_config.json", CHAT_FILE)
"""What makes a tokenizer, in this order; only the first is always there."""
JOINTS = r"(?:and|or|with|no)(?!\p{L})"
PHRASE = rf" ?(?!{JOINTS})\p{{L}}+(?:[ -](?!{JOINTS})\p{{L}}+)*"
REST = r"|\n\p{N}\.| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
WORDS = r" ?\p{L}+" + REST
"""What the first half of the merges stays within: words with the blank before them, marks of a numbered list, single
digits, runs of signs and of blanks."""
PHRASES = rf" ?{JOINTS}|{PHRASE}" + REST
"""What the second half may join: the words of a phrase.

Merging across the blanks of a phrase (as in SuperBPE, arXiv 2503.13423) makes "loss of appetite" one token, which more
than halves the length of a case; words that join phrases stand alone, so that a name is spelled alike in every list.
Words come first, else a blank is merged with the letter before it, and "gave fever" spells fever as no lesson did.
"""
PRIVATE = 0xF0000
"""First sign of Unicode's private plane."""
SHOWN = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTES = {chr(byte): byte for byte in SHOWN} | {
    chr(256 + place): byte for place, byte in enumerate(byte for byte in range(256) if byte not in SHOWN)
}
"""How byte-level BPE spells bytes as signs, GPT-2's way: those that show stand for themselves."""
WORD_SHARE = 0.6
"""Of the vocabulary, filled by words and their pieces before phrases begin."""


class Parts(NamedTuple):
    """A generated answer, cut at its last `</think>`."""

    thinking: str
    reply: str
    thinking_tokens: int
    """Tokens before the marker."""
    reply_tokens: int
    """Tokens after the marker, the end token not counted."""


class Codec:
    """Encodes prompts and completions of one checkpoint, and decodes its answers."""

    def __init__(self, tokenizer: Any, chat: str, pad: str | None = None, ends: Sequence[int] = ()) -> None:
        """`tokenizer` is a `tokenizers.Tokenizer`; `pad` names its padding token; `ends` are further end ids.

        Raises:
            UserError: the chat format is unknown or its control tokens are not in the vocabulary.
        """
        self.chat = chat
        self._format = chats.chat_named(chat)
        self._full = tokenizer
        self._plain = _without_added(tokenizer)
        missing = [t for t in chats.control_tokens(self._format) if tokenizer.token_to_id(t) is None]
        if missing:
            raise UserError(
                f"the vocabulary lacks '{missing[0]}' of chat format '{chat}'; choose the format the model was taught."
            )
        found = [tokenizer.token_to_id(token) for token in self._format.end]
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys(i for i in [*found, *ends] if i is not None))
        """Ids that end an answer; the first is written by `encode_completion`."""
        candidates = [tokenizer.token_to_id(token) for token in (pad, *self._format.pad) if token is not None]
        self.pad_id: int = next((i for i in candidates if i is not None), self.eos_ids[0])
        begin = self._format.begin[0] if self._format.begin else None
        self.bos_id: int | None = tokenizer.token_to_id(begin.token) if isinstance(begin, Control) else None
        self.size: int = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        """Rows an embedding needs."""
        self.think_id: int | None = tokenizer.token_to_id(THINK)
        self.end_think_id: int | None = tokenizer.token_to_id(END_THINK)
        self.control_ids: frozenset[int] = frozenset(tokenizer.get_added_tokens_decoder())
        """Every id no text may yield."""

    @classmethod
    def load(cls, directory: Path, chat: str | None = None) -> Codec:
        """Read tokenizer.json. The format is `chat`, else the one in chat.json, else the first whose tokens are there.

        Raises:
            UserError: no tokenizer, a broken one, or no format fits.
        """
        from tokenizers import Tokenizer

        path = directory / FILES[0]
        if not path.is_file():
            raise UserError(f"{directory}: has no tokenizer.json; save the model's fast tokenizer beside its weights.")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{path}: is not a readable tokenizer ({error}); fetch the checkpoint again.") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        name = chat or read_object(directory / CHAT_FILE).get("chat")
        name = name or chats.recognise(tokenizer.get_vocab(with_added_tokens=True))
        if not isinstance(name, str):
            raise UserError(
                f"{directory}: fits none of the chat formats {', '.join(chats.CHATS)}; name one in chat.json."
            )
        pad = read_object(directory / "tokenizer_config.json").get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        return cls(tokenizer, name, pad, _end_ids(directory))

    def tokens(self) -> dict[str, int]:
        """The vocabulary: id by token, control tokens too."""
        found: dict[str, int] = self._full.get_vocab(with_added_tokens=True)
        return found

    def encode_text(self, text: str) -> list[int]:
        """Token ids of plain text; never a control token, whatever the text says."""
        if self.end_think_id is None:
            # Without tokens of their own the markers are words, and words of the user's must not pass for them.
            text = text.replace(THINK, "< think>").replace(END_THINK, "</ think>")
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def control_tokens_of(self, text: str) -> int:
        """Control tokens that a tokenizer which parses them would make of a text; `encode_text` makes none."""
        return sum(one in self.control_ids for one in self._full.encode(text, add_special_tokens=False).ids)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a prompt, ending with `<think>\\n` when the vocabulary holds that token.

        Raises:
            UserError: the last message is not a user's.
        """
        ids = self._pieces(chats.pieces_of(self._format, messages))
        if self.think_id is not None:
            ids += [self.think_id, *self.encode_text("\n")]
        return ids

    def template(self) -> str:
        """`encode_prompt` as a chat template in one line of Jinja, for another project's server.

        Its text, encoded with control tokens parsed, is those ids; save that a message which spells a control token
        gets a blank inside it.
        """
        added = [token.content for token in self._full.get_added_tokens_decoder().values()]
        return chats.template_of(self._format, self.think_id is not None, added)

    def encode_completion(self, thinking: str, reply: str) -> list[int]:
        """Ids of an answer after `encode_prompt`: thinking, `</think>`, reply and the end token."""
        ids: list[int] = []
        if self.think_id is None and thinking:
            ids += self._marker(THINK) + self.encode_text("\n")
        if thinking:
            ids += self.encode_text(thinking + "\n")
        if thinking or self.think_id is not None:
            ids += self.closing()
        return [*ids, *self.encode_text(reply), self.eos_ids[0]]

    def closing(self) -> list[int]:
        """Ids of `</think>\\n`: what ends the thinking."""
        return self._marker(END_THINK) + self.encode_text("\n")

    def token_bytes(self) -> list[bytes] | None:
        """What each id writes, by id; nothing for a control token. None where tokens are not spelled in bytes."""
        return self._written

    @cached_property
    def _written(self) -> list[bytes] | None:
        written = [b""] * self.size
        for token, i in self._full.get_vocab(with_added_tokens=False).items():
            if i in self.control_ids:
                continue
            if any(sign not in BYTES for sign in token):
                return None
            written[i] = bytes(BYTES[sign] for sign in token)
        return written

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; control tokens are dropped, `<think>` and `</think>` stay."""
        return str(self._full.decode(list(ids), skip_special_tokens=True))

    def split(self, ids: Sequence[int]) -> Parts:
        """Cut generated ids at the last `</think>`: a model whose thought a budget closed may go on and close it again.

        Without one, an answer that came to its end token is all reply; one that was cut off is all thinking.
        """
        ended = bool(ids) and ids[-1] in self.eos_ids
        body = list(ids[:-1] if ended else ids)
        cut = self._cut(body)
        if cut is None and ended:
            return Parts("", self.decode(body).strip(), 0, len(body))
        if cut is None:
            return Parts(self._thought(body), "", len(body), 0)
        before, after = body[: cut[0]], body[cut[1] :]
        return Parts(self._thought(before), self.decode(after).strip(), len(before), len(after))

    def reply_from(self, ids: Sequence[int]) -> int:
        """Place of the reply's first id, as `split` cuts; the end while the model still thinks."""
        cut = self._cut(ids)
        if cut is not None:
            return cut[1]
        return 0 if ids and ids[-1] in self.eos_ids else len(ids)

    def thinks_on(self, ids: Sequence[int]) -> bool:
        """Whether generated ids have not reached `</think>` yet."""
        return self._cut(ids) is None

    def _cut(self, ids: Sequence[int]) -> tuple[int, int] | None:
        """Where the last marker begins and ends."""
        marker = self._marker(END_THINK)
        for start in range(len(ids) - len(marker), -1, -1):
            if ids[start] == marker[0] and list(ids[start : start + len(marker)]) == marker:
                return start, start + len(marker)
        return None

    def _thought(self, ids: Sequence[int]) -> str:
        text = self.decode([one for one in ids if one != self.end_think_id]).strip().removeprefix(THINK).strip()
        return text.replace(END_THINK, "").strip() if self.end_think_id is None else text

    def _marker(self, token: str) -> list[int]:
        known = self._full.token_to_id(token)
        return [known] if known is not None else list(self._plain.encode(token, add_special_tokens=False).ids)

    def _pieces(self, pieces: Sequence[chats.Piece]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            ids += [self._full.token_to_id(piece.token)] if isinstance(piece, Control) else self.encode_text(piece)
        return ids


def train_tokenizer(texts: Iterable[str], vocabulary: int, directory: Path, chat: str) -> None:
    """Train byte-level BPE and write tokenizer.json, tokenizer_config.json and chat.json into `directory`.

    `vocabulary` is the most entries there will be, all tokens counted; at least 256 bytes and the control tokens.
    Digits stand alone, so that doses and values are never merged. `<think>` and `</think>` are added but not special:
    special ones are stripped from decoded text by trainers and servers.

    Raises:
        UserError: the vocabulary is too small for bytes and control tokens, or the format is unknown.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    form = chats.chat_named(chat)
    pad = "<｜▁pad▁｜>" if chat == "deepseek-r1" else "<|pad|>"
    special = list(dict.fromkeys([*chats.control_tokens(form), pad]))
    room = vocabulary - len((THINK, END_THINK))
    if room < 256 + len(special):
        raise UserError(f"vocabulary {vocabulary} is too small; use at least {258 + len(special)}.")
    texts = list(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = _within(WORDS)
    trainer = trainers.BpeTrainer(
        vocab_size=max(256 + len(special), round(WORD_SHARE * room)),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = _with_phrases(tokenizer, texts, room)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in (THINK, END_THINK)])
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": form.end[0],
        "pad_token": pad,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
    }
    if form.begin and isinstance(form.begin[0], Control):
        config["bos_token"] = form.begin[0].token
    files.write_text(directory / FILES[0], tokenizer.to_str(pretty=True))
    files.write_text(directory / FILES[1], json.dumps(config, indent=2, ensure_ascii=False))
    write_chat(directory, chat)


def _within(pattern: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _with_phrases(words: Any, texts: Iterable[str], room: int) -> Any:
    """The tokenizer `words` with merges of whole words after its own, up to `room` entries.

    BPE over tokens instead of letters: every token is written as one sign, and the library learns on those.
    """
    from tokenizers import Tokenizer, models, trainers

    words.pre_tokenizer = _within(PHRASES)
    state = json.loads(words.to_str())
    entries: dict[str, int] = state["model"]["vocab"]
    sign = {i: chr(PRIVATE + i) for i in entries.values()}
    token = {sign[i]: text for text, i in entries.items()}
    pieces = Counter(piece for text in texts for piece, _ in words.pre_tokenizer.pre_tokenize_str(text))
    spelled = {piece: "".join(sign[one.id] for one in words.model.tokenize(piece)) for piece in pieces}
    learner = Tokenizer(models.BPE())
    size = len(set().union(*spelled.values())) + room - len(entries)
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False)
    learner.train_from_iterator((text for piece, text in spelled.items() for _ in range(pieces[piece])), trainer)
    for pair in json.loads(learner.to_str())["model"]["merges"]:
        left, right = ("".join(token[one] for one in part) for part in pair)
        state["model"]["merges"].append([left, right])
        entries.setdefault(left + right, len(entries))
    return Tokenizer.from_str(json.dumps(state))


def write_chat(directory: Path, chat: str) -> None:
    """Store the name of the chat format beside a checkpoint.

    Raises:
        UserError: there is no such format.
    """
    chats.chat_named(chat)
    files.write_text(directory / CHAT_FILE, json.dumps({"chat": chat}))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is no such file.

    Raises:
        UserError: the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(files.read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); fetch the checkpoint again.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: is not a JSON object; fetch the checkpoint again.")
    return value


def _end_ids(directory: Path) -> list[int]:
    value = read_object(directory / "generation_config.json").get("eos_token_id")
    return [i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int)]


def _without_added(tokenizer: Any) -> Any:
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    added = {token["content"] for token in state.pop("added_tokens", [])}
    state["added_tokens"] = []
    state["post_processor"] = None
    model = state["model"]
    if isinstance(model.get("vocab"), dict):
        # Ids stay where they are; a token that is gone from the vocabulary cannot be reached by any merge either.
        unknown = model.get("unk_token")
        model["vocab"] = {text: i for text, i in model["vocab"].items() if text not in added or text == unknown}
        model["merges"] = [merge for merge in model.get("merges", []) if _merged(merge) not in added]
    return Tokenizer.from_str(json.dumps(state))


def _merged(merge: str | list[str]) -> str:
    return "".join(merge.split(" ") if isinstance(merge, str) else merge)
