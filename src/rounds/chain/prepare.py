"""Stages before any reasoning is passed on: cases, tokenizer, base student, teacher."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from rounds import files, recipe
from rounds.cases import oracle
from rounds.cases.generate import Drawn, generate, world_for
from rounds.cases.overlap import refuse_overlap
from rounds.chain.stage import Work
from rounds.exam.examine import unique
from rounds.grade.gold import accepted
from rounds.grade.mark import Marker
from rounds.knowledge.base import load as load_knowledge
from rounds.model import checkpoint
from rounds.model.backbone import build
from rounds.model.tokenizer import CHAT_FILE, Codec, train_tokenizer, write_chat
from rounds.prompts.template import render
from rounds.records import Case, Figures, Lesson, UserError
from rounds.train.balance import Balance, peak
from rounds.train.batches import Example
from rounds.train.distil import tokenizer_of
from rounds.train.grpo import Reasoned, grpo, sample
from rounds.train.lessons import examples, pages, text_examples
from rounds.train.pretrain import Trained, pretrain

ORACLE = "oracle.jsonl"
TEACHER = "teacher/reasoned"
"""The stage whose model answers, where the teacher is made here."""
WATCHED = 220
"""Most tune cases that GRPO's monitor has answered each time it looks."""
SHARES = {"lessons": (0.0, 0.50), "traces": (0.50, 0.75), "fresh": (0.75, 1.0)}
"""How the teach split is shared out: lessons of base and teacher, cases the teacher answers, cases for the control."""


def make_cases(work: Work, chosen: recipe.Recipe) -> Figures:
    """cases/: teach.jsonl, tune.jsonl, exam.jsonl, and the oracle's lessons on teach."""
    if chosen.cases.file is not None:
        return _own_cases(work, Path(chosen.cases.file))
    knowledge = load_knowledge()
    drawn = generate(knowledge, chosen.cases, chosen.seed)
    world = world_for(knowledge, chosen.cases)
    teach = [one.case for one in drawn["teach"]]
    refuse_overlap([one.case for one in (*drawn["exam"], *drawn["tune"])], teach)
    for split, cases in drawn.items():
        files.write_jsonl(work.out / f"{split}.jsonl", (one.case for one in cases))
    random = Random(f"{chosen.seed}-oracle")
    files.write_jsonl(work.out / ORACLE, [_lesson(world, one, chosen, random) for one in drawn["teach"]])
    ceiling = oracle.ceiling(world, drawn["exam"])
    return {
        "teach": len(teach),
        "tune": len(drawn["tune"]),
        "exam": len(drawn["exam"]),
        "exam_inside": ceiling["n"],
        "oracle_top1": round(ceiling["top1"], 4),
        "oracle_top5": round(ceiling["top5"], 4),
        "conditions": len(world.conditions),
        "reviewed": sum(bool(condition.reviewed_by) for condition in world.conditions),
    }


def _lesson(world: Any, drawn: Drawn, chosen: recipe.Recipe, random: Random) -> Lesson:
    thought = oracle.think(world, drawn, random)
    prompt = render(drawn.case, chosen.examine.template)
    return Lesson(prompt=prompt, thinking=thought.thinking, reply=thought.reply, teacher="oracle")


def _own_cases(work: Work, path: Path) -> Figures:
    """A hospital's own cases, shared out by their split; each right answer is one that a reader accepts."""
    by_split: dict[str, list[Case]] = {"teach": [], "tune": [], "exam": []}
    for case in unique(list(accepted(files.read_jsonl(path, Case)))).values():
        by_split[case.split].append(case)
    for split, cases in by_split.items():
        if not cases:
            raise UserError(f"{path}: has no case of split '{split}'; a run needs teach, tune and exam.")
        files.write_jsonl(work.out / f"{split}.jsonl", cases)
    refuse_overlap([*by_split["exam"], *by_split["tune"]], by_split["teach"])
    refuse_overlap(by_split["exam"], by_split["tune"])
    return {split: len(cases) for split, cases in by_split.items()}


def read_cases(directory: Path, split: str) -> list[Case]:
    """Cases of one split of a cases/ directory."""
    return list(files.read_jsonl(directory / f"{split}.jsonl", Case))


def part(items: Sequence[Any], name: str) -> list[Any]:
    """The share of the teach split that `SHARES` gives to a use."""
    low, high = SHARES[name]
    return list(items[round(low * len(items)) : round(high * len(items))])


def read_oracle(directory: Path, *names: str) -> tuple[list[Lesson], ...]:
    """The oracle's lessons on each share of teach that is named, read once.

    Raises:
        UserError: the cases have no oracle (they came from a file).
    """
    if not (directory / ORACLE).is_file():
        raise UserError("cases from a file have no oracle to teach a model from nothing; start from a checkpoint.")
    lessons = list(files.read_jsonl(directory / ORACLE, Lesson))
    return tuple(part(lessons, name) for name in names)


def direct(lessons: Iterable[Lesson]) -> list[Lesson]:
    """The same lessons with the answer alone."""
    return [lesson.model_copy(update={"thinking": ""}) for lesson in lessons]


def make_tokenizer(work: Work, chosen: recipe.Recipe) -> Figures:
    """tokenizer/: byte-level BPE on pages of the knowledge base and lessons."""
    (lessons,) = read_oracle(work.inputs["cases"], "lessons")
    texts = [text for one in lessons[:4000] for text in (one.prompt.messages[0].content, one.thinking, one.reply)]
    texts += pages(load_knowledge(), chosen.seed)
    train_tokenizer(texts, chosen.pretrain.vocabulary, work.out, chosen.student.chat)
    return {"vocabulary": Codec.load(work.out).size}


def link_checkpoint(work: Work, source: recipe.Model) -> Figures:
    """A stage whose model is a checkpoint: links to its files, after the checks every checkpoint passes.

    Raises:
        UserError: missing, pickled weights, remote code, truncated.
    """
    directory = checkpoint.resolve(str(source.checkpoint))
    checkpoint.check(directory)
    for path in directory.iterdir():
        if path.is_file():
            (work.out / path.name).symlink_to(path.resolve())
    if not (work.out / CHAT_FILE).exists():
        write_chat(work.out, source.chat)
    return {"bytes": checkpoint.bytes_of(directory)}


def make_base(work: Work, chosen: recipe.Recipe) -> Figures:
    """base/: the student before any reasoning."""
    if chosen.student.backbone is None:
        return link_checkpoint(work, chosen.student)
    codec = Codec.load(work.inputs["tokenizer"])
    lessons = direct(*read_oracle(work.inputs["cases"], "lessons"))
    model, trained = from_nothing(chosen, chosen.student.backbone, codec, lessons, chosen.pretrain)
    checkpoint.save(model, work.inputs["tokenizer"], work.out)
    return asdict(trained) | {"parameters": sum(p.numel() for p in model.parameters())}


def from_nothing(
    chosen: recipe.Recipe,
    backbone: recipe.Backbone,
    codec: Codec,
    lessons: Sequence[Lesson],
    settings: recipe.Pretrain | recipe.Teach,
) -> tuple[Any, Trained]:
    """Build and pretrain on pages of the knowledge base and lessons."""
    model = build(backbone, codec.size, chosen.seed, bos=codec.bos_id, eos=codec.eos_ids, pad=codec.pad_id)
    texts = text_examples(pages(load_knowledge(), chosen.seed), codec)
    data = [*texts, *examples(lessons, codec, strange=settings.strange, seed=chosen.seed)]
    return model, _learn(model, data, settings, codec, chosen.seed)


def _learn(
    model: Any, data: Sequence[Example], settings: recipe.Pretrain | recipe.Teach, codec: Codec, seed: int
) -> Trained:
    return pretrain(
        model,
        data,
        settings,
        pad=codec.pad_id,
        seed=seed,
        muon=settings.muon,
        bias_rate=settings.bias_rate if isinstance(settings, recipe.Teach) else 0.0,
        no_repeat=settings.no_repeat,
    )


def make_teacher_pretrained(work: Work, chosen: recipe.Recipe) -> Figures:
    """teacher/pretrained/: the backbone on pages and direct answers."""
    backbone = chosen.teacher.backbone
    assert backbone is not None
    codec = Codec.load(work.inputs["tokenizer"])
    lessons = direct(*read_oracle(work.inputs["cases"], "lessons"))
    # One thread, as the base is trained beside it: three threads on two cores wait for one another.
    settings = chosen.teach.model_copy(update={"steps": max(1, chosen.teach.pretrain_steps), "threads": 1})
    model, trained = from_nothing(chosen, backbone, codec, lessons, settings)
    checkpoint.save(model, work.inputs["tokenizer"], work.out)
    return asdict(trained) | {"parameters": sum(p.numel() for p in model.parameters())}


def make_teacher_taught(work: Work, chosen: recipe.Recipe) -> Figures:
    """teacher/taught/: chain of thought by the oracle, and the load of the experts by layer and specialty."""
    source = work.inputs["teacher/pretrained"]
    codec = Codec.load(source)
    lessons, fresh = read_oracle(work.inputs["cases"], "lessons", "fresh")
    model = checkpoint.load(source)
    taught = examples(lessons, codec, strange=chosen.teach.strange, seed=chosen.seed)
    trained = _learn(model, taught, chosen.teach, codec, chosen.seed)
    checkpoint.save(model, source, work.out)
    loads = expert_loads(model, codec, _by_specialty(work, fresh[:LOADED]))
    files.write_text(work.out / "experts.json", json.dumps(loads, indent=1))
    peaks = [peak(shares) for shares in loads["all"].values()]
    return asdict(trained) | {"expert_load_max_over_mean": round(max(peaks), 3) if peaks else None}


LOADED = 600
"""Lessons the load of the experts is measured on, none of which the teacher has seen."""


def _by_specialty(work: Work, lessons: Sequence[Lesson]) -> dict[str, Sequence[Lesson]]:
    specialty = {case.id: case.specialty for case in read_cases(work.inputs["cases"], "teach")}
    groups: dict[str, list[Lesson]] = {}
    for lesson in lessons:
        groups.setdefault(specialty[lesson.prompt.case_id], []).append(lesson)
    return {"all": lessons, **groups}


def expert_loads(model: Any, codec: Codec, groups: Mapping[str, Sequence[Lesson]]) -> dict[str, dict[str, list[float]]]:
    """Share of the choices each expert gets on whole lessons, by group (specialty, and all), then by layer."""
    import torch

    found = {}
    for name, lessons in groups.items():
        watch = Balance(model, 0.0)
        with torch.inference_mode():
            for example in examples(lessons, codec):
                model(input_ids=torch.tensor([example.ids], device=model.device), use_cache=False)
        found[name] = {layer: [round(share, 4) for share in shares] for layer, shares in watch.loads().items()}
        watch.close()
    return found


def make_teacher_reasoned(work: Work, chosen: recipe.Recipe) -> Figures:
    """teacher/reasoned/: GRPO on the teacher, the last step of R1's arc."""
    settings = chosen.grpo.model_copy(update={"steps": chosen.teach.grpo_steps})
    return improve(work, chosen, work.inputs["teacher/taught"], settings, chosen.teach.bias_rate)


def improve(work: Work, chosen: recipe.Recipe, source: Path, settings: recipe.Grpo, bias_rate: float = 0) -> Figures:
    """GRPO on the checkpoint in `source`, into `work.out`, with its reward table; 0 steps link to it."""
    if not settings.steps:
        for path in source.iterdir():
            if path.is_file() and path.name != files.LINEAGE:
                (work.out / path.name).symlink_to(os.path.relpath(path, work.out))
        return {"steps": 0}
    codec = Codec.load(source)
    model = checkpoint.load(source)
    marker = Marker(load_knowledge())
    cases: list[Case] = part(read_cases(work.inputs["cases"], "teach"), "traces")
    random = Random(f"{chosen.seed}-grpo")
    cases = random.sample(cases, min(len(cases), settings.prompts * max(1, settings.steps or 1)))
    tune = [case for case in read_cases(work.inputs["cases"], "tune") if not case.outside]
    watched = Random(f"{chosen.seed}-watched").sample(tune, min(len(tune), WATCHED))
    result = grpo(
        model,
        cases,
        [render(case, chosen.examine.template) for case in cases],
        settings,
        codec=codec,
        tokenizer=tokenizer_of(source),
        marker=marker,
        accuracy=greedy_accuracy(watched, chosen, codec, marker),
        seed=chosen.seed,
        scratch=work.out / ".scratch",
        bias_rate=bias_rate,
    )
    checkpoint.save(model, source, work.out)
    files.write_text(work.out / "rewards.json", json.dumps({"steps": result.table, "accuracy": result.accuracy}))
    return _grpo_figures(result)


def _grpo_figures(result: Reasoned) -> Figures:
    first, last = (result.table[0], result.table[-1]) if result.table else ({}, {})
    return {
        "steps": result.steps,
        "stopped": result.stopped,
        "tune_before": round(result.accuracy[0], 4),
        "tune_after": round(result.kept, 4),
        **{f"first_{name}": round(value, 4) for name, value in first.items()},
        **{f"last_{name}": round(value, 4) for name, value in last.items()},
    }


def greedy_accuracy(
    cases: Sequence[Case], chosen: recipe.Recipe, codec: Codec, marker: Marker
) -> Callable[[Any], float]:
    """Greedy top-1 on tune: what the sampled reward is held against."""
    from rounds.prompts.reader import read_reply

    prompts = [codec.encode_prompt(render(case, chosen.examine.template).messages) for case in cases]

    def accuracy(model: Any) -> float:
        answers: list[list[int]] = []
        for start in range(0, len(prompts), 128):
            answers += sample(model, prompts[start : start + 128], codec, 0.0, chosen.grpo.max_tokens)
        marks = [
            marker.mark_answer(case, read_reply(codec.split(ids).reply, case.id))
            for case, ids in zip(cases, answers, strict=True)
        ]
        return sum(mark.rank == 1 for mark in marks) / len(marks)

    return accuracy
