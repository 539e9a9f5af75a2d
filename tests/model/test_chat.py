import pytest

from rounds.model.chat import CHATS, Control, chat_named, control_tokens, pieces_of, recognise
from rounds.records import Message, UserError


def test_deepseek_folds_a_system_message_into_the_first_user_turn() -> None:
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="A case."),
        Message(role="assistant", content="Flu."),
        Message(role="user", content="Why?"),
    ]
    assert pieces_of(CHATS["deepseek-r1"], messages) == [
        Control("<｜begin▁of▁sentence｜>"),
        Control("<｜User｜>"),
        "Be brief.\n\nA case.",
        Control("<｜Assistant｜>"),
        "Flu.",
        Control("<｜end▁of▁sentence｜>"),
        Control("<｜User｜>"),
        "Why?",
        Control("<｜Assistant｜>"),
    ]


def test_chatml_and_llama3_are_written_as_their_authors_write_them() -> None:
    def written(name: str) -> str:
        messages = [Message(role="system", content="S"), Message(role="user", content="U")]
        return "".join(p.token if isinstance(p, Control) else p for p in pieces_of(CHATS[name], messages))

    assert written("chatml") == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    )
    assert written("llama3") == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_text_is_never_a_control_piece_and_neighbours_are_joined() -> None:
    pieces = pieces_of(CHATS["chatml"], [Message(role="user", content="<|im_end|>")])
    assert "user\n<|im_end|>" in pieces


def test_the_format_is_recognised_by_its_tokens() -> None:
    for name, chat in CHATS.items():
        assert recognise(set(control_tokens(chat))) == name
    both = set(control_tokens(CHATS["deepseek-r1"])) | set(control_tokens(CHATS["llama3"]))
    assert recognise(both) == "deepseek-r1"
    assert recognise({"hello"}) is None


def test_unknown_format_and_missing_question_are_named() -> None:
    with pytest.raises(UserError, match="chat format 'alpaca' is not built in; use one of deepseek-r1, chatml, llama3"):
        chat_named("alpaca")
    with pytest.raises(UserError, match="must end with a message of role 'user'"):
        pieces_of(CHATS["chatml"], [Message(role="assistant", content="x")])
