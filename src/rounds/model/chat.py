"""Built-in chat formats by name: how messages become control tokens and text.

A checkpoint's own template is a program and is never run. A format yields pieces: a `Control` is one token of the
vocabulary, a plain string is text that must never become a control token (`rounds.model.tokenizer.Codec` sees to
that). Left out on purpose: tools, images, and formats nobody here uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rounds.records import Message, UserError

THINK = "<think>"
END_THINK = "</think>"
OPENING = re.compile(r"<[|｜]")
"""How nearly every control token begins."""


@dataclass(frozen=True, slots=True)
class Control:
    """One control token, by its name in the vocabulary."""

    token: str


Piece = Control | str


@dataclass(frozen=True, slots=True)
class Chat:
    """One format. Opening and closing pieces surround the text of a turn."""

    begin: tuple[Piece, ...]
    """Before the first turn."""
    user: tuple[Piece, ...]
    end_user: tuple[Piece, ...]
    assistant: tuple[Piece, ...]
    end_assistant: tuple[Piece, ...]
    system: tuple[Piece, ...] | None
    """Opens a system turn, closed like a user's; None folds the text into the first user turn."""
    end: tuple[str, ...]
    """Tokens that end an answer; the first is written, any found in the vocabulary stops generation."""
    pad: tuple[str, ...]
    """Padding tokens, the first found in the vocabulary is used."""


CHATS: dict[str, Chat] = {
    # https://huggingface.co/deepseek-ai/DeepSeek-R1: no system prompt, all instructions in the user turn.
    "deepseek-r1": Chat(
        begin=(Control("<｜begin▁of▁sentence｜>"),),
        user=(Control("<｜User｜>"),),
        end_user=(),
        assistant=(Control("<｜Assistant｜>"),),
        end_assistant=(Control("<｜end▁of▁sentence｜>"),),
        system=None,
        end=("<｜end▁of▁sentence｜>",),
        pad=("<｜▁pad▁｜>", "<｜end▁of▁sentence｜>"),
    ),
    # https://huggingface.co/Qwen/Qwen2.5-7B-Instruct
    "chatml": Chat(
        begin=(),
        user=(Control("<|im_start|>"), "user\n"),
        end_user=(Control("<|im_end|>"), "\n"),
        assistant=(Control("<|im_start|>"), "assistant\n"),
        end_assistant=(Control("<|im_end|>"), "\n"),
        system=(Control("<|im_start|>"), "system\n"),
        end=("<|im_end|>", "<|endoftext|>"),
        pad=("<|endoftext|>",),
    ),
    # https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/
    "llama3": Chat(
        begin=(Control("<|begin_of_text|>"),),
        user=(Control("<|start_header_id|>"), "user", Control("<|end_header_id|>"), "\n\n"),
        end_user=(Control("<|eot_id|>"),),
        assistant=(Control("<|start_header_id|>"), "assistant", Control("<|end_header_id|>"), "\n\n"),
        end_assistant=(Control("<|eot_id|>"),),
        system=(Control("<|start_header_id|>"), "system", Control("<|end_header_id|>"), "\n\n"),
        end=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
        pad=("<|finetune_right_pad_id|>", "<|end_of_text|>"),
    ),
}
"""Every format there is."""


def chat_named(name: str) -> Chat:
    """The format of that name.

    Raises:
        UserError: there is none.
    """
    if name not in CHATS:
        raise UserError(f"chat format '{name}' is not built in; use one of {', '.join(CHATS)}.")
    return CHATS[name]


def recognise(vocabulary: Collection[str]) -> str | None:
    """The first format whose control tokens are all in the vocabulary; None when no format fits.

    R1-Distill checkpoints hold DeepSeek's tokens beside those of their parent, hence the order of CHATS.
    """
    for name, chat in CHATS.items():
        if all(token in vocabulary for token in control_tokens(chat) if token not in chat.end[1:]):
            return name
    return None


def control_tokens(chat: Chat) -> tuple[str, ...]:
    """Every control token a format writes, in order of first use, padding last."""
    pieces = (*chat.begin, *chat.user, *chat.end_user, *chat.assistant, *chat.end_assistant, *(chat.system or ()))
    written = [piece.token for piece in pieces if isinstance(piece, Control)]
    return tuple(dict.fromkeys([*written, chat.end[0]]))


def pieces_of(chat: Chat, messages: Sequence[Message]) -> list[Piece]:
    """The prompt for the next answer: every turn, then the opened turn of the assistant. Neighbouring text is joined.

    Raises:
        UserError: no message, or the last is not a user's.
    """
    if not messages or messages[-1].role != "user":
        raise UserError("a prompt must end with a message of role 'user'; add one.")
    pieces: list[Piece] = list(chat.begin)
    folded: list[str] = []
    for message in messages:
        if message.role == "system" and chat.system is None:
            folded.append(message.content)
        elif message.role == "system":
            pieces += [*(chat.system or ()), message.content, *chat.end_user]
        elif message.role == "user":
            pieces += [*chat.user, "\n\n".join([*folded, message.content]), *chat.end_user]
            folded = []
        else:
            pieces += [*chat.assistant, message.content, *chat.end_assistant]
    return _joined([*pieces, *chat.assistant])


def template_of(chat: Chat, thinks: bool, tokens: Collection[str]) -> str:
    """The format as a chat template in one line of Jinja, for a server that asks for one: it renders `pieces_of`.

    thinks: the answer is opened with `<think>`. tokens: control tokens of the vocabulary; where the text of a message
    spells one, a blank goes behind its first sign, as such a server cannot tell it from the token itself.
    """
    apart = {found[0] if (found := OPENING.match(token)) else token for token in (*tokens, THINK, END_THINK)}
    guarded = sorted(one for one in apart if len(one) > 1 and not one[0].isalnum())
    guard = "".join(f"|replace({_quoted(one)},{_quoted(f'{one[0]} {one[1:]}')})" for one in guarded)
    system = '{%set fold.text=fold.text+text+"\\n\\n"%}'
    if chat.system is not None:
        system = _shown(chat.system, "text", chat.end_user)
    opened: tuple[Piece, ...] = (*chat.assistant, f"{THINK}\n") if thinks else chat.assistant
    return "".join(
        (
            '{%set fold=namespace(text="")%}',
            _shown(chat.begin),
            "{%for message in messages%}{%set text=message.content", guard, "%}",
            '{%if message.role=="system"%}', system,
            '{%elif message.role=="user"%}', _shown(chat.user, "fold.text", "text", chat.end_user),
            '{%set fold.text=""%}',
            "{%else%}", _shown(chat.assistant, "text", chat.end_assistant),
            "{%endif%}{%endfor%}",
            _shown(opened),
        )
    )  # fmt: skip


def _shown(*parts: Sequence[Piece] | str) -> str:
    """Jinja that writes pieces, and variables by their names."""
    texts = [part if isinstance(part, str) else _quoted(_text(part)) for part in parts if part]
    return f"{{{{{'+'.join(texts)}}}}}" if texts else ""


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.token if isinstance(piece, Control) else piece for piece in pieces)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    # "user\n" and the words after it are tokenised as one text, as the format's authors do.
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
