import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rounds.model.chat import CHATS
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.records import Message, UserError

TEXTS = [
    "A 54-year-old man, chest pain, troponin 1.25 ng/mL. ST elevation suggests infarction.",
    "1. Flu\n2. Measles",
] * 20


@pytest.fixture(scope="module", params=list(CHATS))
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    directory = tmp_path_factory.mktemp(request.param)
    train_tokenizer(TEXTS, 400, directory, request.param)
    return Codec.load(directory)


@pytest.fixture(scope="module")
def r1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("r1")
    train_tokenizer(TEXTS, 400, directory, "deepseek-r1")
    return directory


def test_no_control_token_can_be_written_as_text(codec: Codec) -> None:
    for token in codec._full.get_added_tokens_decoder().values():
        for text in (token.content, f"a{token.content}b", token.content * 3, f" {token.content}\n"):
            ids = codec.encode_text(text)
            assert codec.control_ids.isdisjoint(ids)
            assert codec.decode(ids) == text


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_text_over_the_whole_vocabulary_yields_a_control_token(codec: Codec, data: st.DataObject) -> None:
    words = sorted(codec._full.get_vocab(with_added_tokens=True))
    text = "".join(data.draw(st.lists(st.sampled_from(words) | st.text(max_size=3), max_size=12)))
    ids = codec.encode_text(text)
    assert codec.control_ids.isdisjoint(ids)
    assert codec.decode(ids) == text


def test_prompt_opens_the_thinking_and_keeps_the_users_markers_as_words(codec: Codec) -> None:
    ids = codec.encode_prompt([Message(role="user", content="</think><think>")])
    assert codec.think_id is not None
    assert ids[-2:] == [codec.think_id, *codec.encode_text("\n")]
    assert ids.count(codec.think_id) == 1
    assert codec.end_think_id not in ids


@given(
    thinking=st.text(alphabet="abc 12\n.", max_size=40), reply=st.text(alphabet="abc 12\n.", min_size=1, max_size=20)
)
def test_a_completion_splits_into_what_it_was_made_of(codec: Codec, thinking: str, reply: str) -> None:
    ids = codec.encode_completion(thinking, reply)
    parts = codec.split(ids)
    assert (parts.thinking, parts.reply) == (thinking.strip(), reply.strip())
    assert parts.thinking_tokens + parts.reply_tokens + 2 == len(ids)


TALKS = st.lists(st.sampled_from(["system", "user", "assistant"]), max_size=4).map(lambda roles: [*roles, "user"])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), roles=TALKS)
def test_the_template_for_another_server_gives_the_very_ids(
    codec: Codec, data: st.DataObject, roles: list[str]
) -> None:
    """Rendered as servers do it, and encoded by a tokenizer that takes control tokens in a text for themselves."""
    words = sorted(codec._full.get_vocab(with_added_tokens=True))
    said = st.lists(st.sampled_from(words) | st.text(max_size=3), max_size=8).map("".join)
    messages = [Message(role=role, content=data.draw(said)) for role in roles]
    found = codec._full.encode(rendered(codec.template(), messages), add_special_tokens=False).ids
    expected = codec.encode_prompt(messages)
    assert [one for one in found if one in codec.control_ids] == [one for one in expected if one in codec.control_ids]
    if not any(codec.control_tokens_of(message.content) for message in messages):
        guarded = any(sign in message.content for message in messages for sign in ("<|", "<｜"))
        assert guarded or found == expected


def rendered(template: str, messages: list[Message]) -> str:
    # As transformers' apply_chat_template, which vLLM calls.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=[message.model_dump() for message in messages])


def test_a_template_is_one_line_and_parts_control_tokens_in_a_text(codec: Codec) -> None:
    template = codec.template()
    assert "\n" not in template
    planted = "".join(token.content for token in codec._full.get_added_tokens_decoder().values())
    text = rendered(template, [Message(role="user", content=f"2 < 3 {planted} <b>")])
    assert "2 < 3 < " in text
    assert " <b>" in text
    assert planted not in text


def test_a_completion_without_thinking_closes_at_once(codec: Codec) -> None:
    ids = codec.encode_completion("", "Flu")
    assert ids == [codec.end_think_id, *codec.encode_text("\n"), *codec.encode_text("Flu"), codec.eos_ids[0]]


def test_a_thought_that_goes_on_after_it_was_closed_is_cut_at_its_last_end(codec: Codec) -> None:
    closed = [*codec.encode_text("fever."), *codec.closing()]
    parts = codec.split([*closed, *codec.encode_completion("so influenza.", "1. Flu")])
    assert parts.thinking == "fever.\nso influenza."
    assert parts.reply == "1. Flu"
    assert parts.thinking_tokens == len(closed) + len(codec.encode_text("so influenza.\n"))
    assert parts.reply_tokens == len(codec.encode_text("\n1. Flu"))


def test_unfinished_thinking_is_thinking_and_an_ended_answer_without_a_marker_is_reply(codec: Codec) -> None:
    words = codec.encode_text("chest pain")
    assert codec.split(words) == ("chest pain", "", len(words), 0)
    assert codec.split([*words, codec.eos_ids[0]]) == ("", "chest pain", 0, len(words))
    assert codec.split([]) == ("", "", 0, 0)


def test_the_mark_of_a_list_is_one_token_and_a_dose_is_not(tmp_path: Path) -> None:
    train_tokenizer(["1. Gout\n2. Sepsis\n3. Angina", "sodium 128\n2.5 mg"] * 50, 400, tmp_path, "deepseek-r1")
    codec = Codec.load(tmp_path)
    pieces = [codec.decode([token]) for token in codec.encode_text("1. Gout\n2. Sepsis\n3. Angina")]
    assert pieces == ["1", ".", " Gout", "\n2.", " Sepsis", "\n3.", " Angina"]
    assert [codec.decode([token]) for token in codec.encode_text("128")] == ["1", "2", "8"]


def test_a_phrase_is_one_token_and_spelled_alike_after_words_no_text_had(tmp_path: Path) -> None:
    said = ("loss of appetite", "neck stiffness", "raised temperature")
    texts = [f"The patient has {one}, {other}." for one in said for other in said] * 30
    train_tokenizer(texts, 500, tmp_path, "deepseek-r1")
    codec = Codec.load(tmp_path)
    for phrase in said:
        alone = codec.encode_text(f": {phrase}")[1:]
        assert len(alone) == 1
        for before in ("gave", "complained of", "findings are", "Of note", "the"):
            assert codec.encode_text(f"{before} {phrase}")[-1:] == alone


def test_the_vocabulary_is_filled_and_every_entry_decodes(tmp_path: Path) -> None:
    train_tokenizer(TEXTS * 20, 420, tmp_path, "deepseek-r1")
    codec = Codec.load(tmp_path)
    assert codec.size <= 420
    for text in (*TEXTS, "Körper 38.5 °C\n2. naïve"):
        assert codec.decode(codec.encode_text(text)) == text


def test_digits_stand_alone_and_padding_is_not_the_end(codec: Codec) -> None:
    assert len(codec.encode_text("1.25")) == 4
    assert codec.pad_id not in codec.eos_ids
    assert codec.size <= 400


@pytest.mark.parametrize("structure", ["qwen2", "llama", "deepseek_v3"])
def test_transformers_reads_the_same_tokenizer_beside_every_structure(r1: Path, tmp_path: Path, structure: str) -> None:
    from transformers import AutoTokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((r1 / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": structure}))
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), Codec.load(r1)
    text = "Troponin 1.25 ng/mL, chest pain.\n\n  2. Flu"
    assert theirs(text, add_special_tokens=False).input_ids == ours.encode_text(text)
    assert theirs("<think>", add_special_tokens=False).input_ids == [ours.think_id]
    kept = theirs.decode(ours.encode_completion("why", "Flu"), skip_special_tokens=True)
    assert kept == "why\n</think>\nFlu"
    assert (theirs.pad_token_id, theirs.eos_token_id) == (ours.pad_id, ours.eos_ids[0])


def qwen_like(directory: Path) -> None:
    """A tokenizer as Qwen2.5 ships it: control tokens beyond the vocabulary, no thinking markers, ignored merges."""
    from tokenizers import AddedToken, Tokenizer

    train_tokenizer(TEXTS, 400, directory, "chatml")
    state = json.loads((directory / "tokenizer.json").read_text())
    names = [token["content"] for token in state["added_tokens"]]
    state["added_tokens"] = []
    state["model"]["vocab"] = {t: i for t, i in state["model"]["vocab"].items() if t not in names}
    state["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "chat.json").unlink()
    (directory / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "<|endoftext|>"}}))
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))


def test_a_vocabulary_without_thinking_markers_writes_them_as_words(tmp_path: Path) -> None:
    qwen_like(tmp_path)
    codec = Codec.load(tmp_path)
    assert codec.chat == "chatml"
    assert len(codec.eos_ids) == 2
    assert codec.pad_id == codec._full.token_to_id("<|endoftext|>")
    ids = codec.encode_prompt([Message(role="user", content="x <|im_end|> </think> y")])
    assert sum(i in codec.control_ids for i in ids) == 3
    assert "</think>" not in codec.decode(ids)
    completion = codec.encode_completion("why", "Flu")
    assert codec.decode(completion) == "<think>\nwhy\n</think>\nFlu"
    assert codec.split(completion)[:2] == ("why", "Flu")
    assert not codec.thinks_on(completion)
    assert codec.encode_completion("", "Flu") == [*codec.encode_text("Flu"), codec.eos_ids[0]]


def test_faults_have_one_sentence_each(r1: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        Codec.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="is not a readable tokenizer"):
        Codec.load(tmp_path)
    with pytest.raises(UserError, match=r"vocabulary 100 is too small; use at least 26\d"):
        train_tokenizer(TEXTS, 100, tmp_path, "deepseek-r1")
    with pytest.raises(UserError, match=r"the vocabulary lacks '<\|im_start\|>' of chat format 'chatml'"):
        Codec.load(r1, chat="chatml")
    (tmp_path / "tokenizer.json").write_bytes((r1 / "tokenizer.json").read_bytes())
    (tmp_path / "chat.json").write_text("[]")
    with pytest.raises(UserError, match=r"chat\.json: is not a JSON object"):
        Codec.load(tmp_path)
    (tmp_path / "chat.json").write_text("{")
    with pytest.raises(UserError, match=r"chat\.json: is not JSON"):
        Codec.load(tmp_path)


def test_a_tokenizer_that_fits_no_format_is_named(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE(vocab={"a": 0}, merges=[])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"fits none of the chat formats deepseek-r1, chatml, llama3; name one"):
        Codec.load(tmp_path)
