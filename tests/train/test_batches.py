from __future__ import annotations

from random import Random

import torch

from rounds.train.batches import IGNORED, Example, batches, tensors


def of_length(*lengths: int) -> list[Example]:
    return [Example(tuple(range(length)), 1) for length in lengths]


def test_every_pass_takes_every_example_once() -> None:
    examples = [Example((number,) * (1 + number % 5)) for number in range(10)]
    drawn = list(batches(examples, 4, 6, Random(1)))
    assert len(drawn) == 6
    for one_pass in (drawn[:3], drawn[3:]):
        assert sorted(example.ids[0] for batch in one_pass for example in batch) == list(range(10))


def test_the_seed_decides_the_order() -> None:
    examples = [Example((number,)) for number in range(20)]
    assert list(batches(examples, 4, 9, Random(1))) == list(batches(examples, 4, 9, Random(1)))
    assert list(batches(examples, 4, 9, Random(1))) != list(batches(examples, 4, 9, Random(2)))


def test_similar_lengths_share_a_batch() -> None:
    lengths = [5] * 40 + [50] * 40
    Random(0).shuffle(lengths)
    made = list(batches(of_length(*lengths), 8, 10, Random(1)))
    assert all(len({len(example.ids) for example in batch}) == 1 for batch in made)


def test_a_step_count_may_end_inside_a_pass() -> None:
    assert len(list(batches(of_length(3, 3, 3, 3), 1, 3, Random(1)))) == 3
    assert len(list(batches(of_length(3), 8, 3, Random(1)))) == 3


def test_tensors_pad_on_the_right_and_leave_prompt_and_padding_out_of_the_loss() -> None:
    made = tensors([Example((5, 6, 7, 8), 2), Example((9, 3), 1)], pad=0)
    assert made["input_ids"].tolist() == [[5, 6, 7, 8], [9, 3, 0, 0]]
    assert made["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert made["labels"].tolist() == [[IGNORED, IGNORED, 7, 8], [IGNORED, 3, IGNORED, IGNORED]]
    assert made["input_ids"].dtype == torch.long
