from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.engine.answering import Pieces, begin, forced_ids, seed_of, thinking_cap
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.records import Message, Prompt, Sampling, UserError


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    directory = tmp_path_factory.mktemp("words")
    train_tokenizer(["fever and pain"] * 5, 300, directory, "deepseek-r1")
    return Codec.load(directory)


@given(thinking=st.text(max_size=30), reply=st.text(max_size=30), width=st.integers(1, 5))
def test_pieces_join_to_the_answer_whatever_their_size(codec: Codec, thinking: str, reply: str, width: int) -> None:
    ids = codec.encode_completion(thinking, reply)
    pieces, deltas = Pieces(codec), []
    for start in range(0, len(ids), width):
        deltas += pieces.take(ids[start : start + width])
    deltas += pieces.rest()
    parts = codec.split(ids)
    assert "".join(d.thinking for d in deltas).strip() == parts.thinking
    assert "".join(d.reply for d in deltas).strip() == parts.reply
    assert all(d.thinking or d.reply for d in deltas)


def test_no_piece_holds_a_second_end_of_the_thinking(codec: Codec) -> None:
    pieces = Pieces(codec)
    closed = [*codec.encode_text("fever"), *codec.closing()]
    deltas = [*pieces.take([*closed, *codec.encode_completion("pain", "1. Flu")]), *pieces.rest()]
    assert "".join(d.thinking for d in deltas).strip() == "fever"
    assert "".join(d.reply for d in deltas).split() == ["pain", "1.", "Flu"]


def test_an_unfinished_character_is_held_back(codec: Codec) -> None:
    euro = codec.encode_text("€")
    assert len(euro) > 1
    pieces = Pieces(codec)
    assert pieces.take(euro[:1]) == []
    assert [d.thinking for d in pieces.take(euro[1:])] == ["€"]


def test_each_answer_has_a_seed_of_its_own() -> None:
    seeds = {seed_of(Sampling(seed=s), case, n) for s in (0, 1) for case in ("a", "b") for n in (0, 1)}
    assert len(seeds) == 8
    assert seed_of(Sampling(), "a", 0) == seed_of(Sampling(temperature=1.0), "a", 0)


def test_a_schema_rules_the_reply_and_not_the_thoughts(codec: Codec) -> None:
    prompt = Prompt(case_id="c", template="t@1", messages=(Message(role="user", content="fever"),))
    answering = begin(codec, prompt, 0, Sampling(json_schema='{"type": "null"}'), 90)
    assert not answering.ruled(codec)
    answering.add(codec.encode_text("pain"))
    assert not answering.ruled(codec)
    answering.add(codec.closing())
    assert answering.ruled(codec)
    assert not begin(codec, prompt, 0, Sampling(), 90).pattern
    with pytest.raises(UserError, match="JSON schema at"):
        begin(codec, prompt, 0, Sampling(json_schema="{}"), 90)


def test_a_prompt_that_fills_the_context_is_named(codec: Codec) -> None:
    prompt = Prompt(case_id="c9", template="t@1", messages=(Message(role="user", content="pain " * 50),))
    with pytest.raises(UserError, match=r"case 'c9': its prompt has \d+ tokens and the model's context 40; shorten it"):
        begin(codec, prompt, 0, Sampling(), 40)
    assert begin(codec, prompt, 0, Sampling(max_tokens=500), 300).limit < 300


def test_forced_tokens_stay_within_the_budget(codec: Codec) -> None:
    assert thinking_cap(codec, Sampling()) is None
    assert thinking_cap(codec, Sampling(thinking_budget=0)) == 0
    assert thinking_cap(codec, Sampling(thinking_budget=8)) == 7
    words = codec.encode_text("fever")
    assert codec.split([*words, *forced_ids(codec, words)]).thinking_tokens == len(words) + 1
    assert codec.split(forced_ids(codec, [])).thinking_tokens == 0


def test_the_folder_is_only_read(tmp_path: Path) -> None:
    from rounds.engine.answering import context_of

    assert context_of(tmp_path) > 10**6
    assert list(tmp_path.iterdir()) == []
