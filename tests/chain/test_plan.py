"""Golden sizes of published shapes, counts held against models that are built, and what is said of a misfit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rounds import recipe
from rounds.chain.plan import HESSIANS, Need, Plan, exam_of, gigabytes, plan
from rounds.chain.run import stages
from rounds.chain.shape import KNOWN, QWEN_7B, Shape, of_backbone, of_config
from rounds.model.backbone import build
from rounds.records import UserError
from rounds.stats.noninferior import cases_for

STRUCTURES = ("qwen2", "llama", "deepseek_v3")
GB = 10**9
QWEN = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


def chosen(**sections: Any) -> recipe.Recipe:
    given: dict[str, Any] = {
        "name": "here",
        "student": {"checkpoint": QWEN},
        "teacher": {"endpoint": "http://127.0.0.1:8001/v1", "name": "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"},
        "compare": {"margin": 0.05, "why_margin": "one case in twenty, seen again the same day"},
    }
    return recipe.parse(given | sections, "test")


def need(found: Plan, stage: str) -> Need:
    return next(one for one in found.stages if one.stage == stage)


def backbone(structure: str, **sizes: int) -> recipe.Backbone:
    given = {"width": 32, "layers": 3, "heads": 4, "feed_forward": 48, "expert_width": 24, "experts": 4}
    return recipe.Backbone.model_validate({"structure": structure, "kv_rank": 16, "q_rank": 24, **given, **sizes})


def built(structure: str, vocabulary: int = 100, **sizes: int) -> tuple[Any, Shape]:
    given = backbone(structure, **sizes)
    return build(given, vocabulary, 1, bos=0, eos=1, pad=2), of_backbone(given, vocabulary)


def test_golden_bytes_of_the_seven_billion_shape() -> None:
    assert QWEN_7B.weights == 7_615_616_512
    assert 2 * QWEN_7B.weights == pytest.approx(15.231 * GB, rel=1e-4)
    assert QWEN_7B.packed_bytes(4, 128, False) == pytest.approx(4.456 * GB, rel=1e-3)
    assert QWEN_7B.packed_bytes(4, 64, False) == pytest.approx(4.558 * GB, rel=1e-3)
    assert QWEN_7B.packed_bytes(4, 32, False) == pytest.approx(4.762 * GB, rel=1e-3)
    assert QWEN_7B.packed_bytes(4, 128, True) == pytest.approx(3.927 * GB, rel=1e-3)
    assert QWEN_7B.packed_bytes(8, 128, False) == pytest.approx(7.62 * GB, rel=1e-3)
    assert 2 * QWEN_7B.kv_values == 57_344


@pytest.mark.parametrize(
    ("name", "weights"), [("Qwen-1.5B", 1.777e9), ("Qwen-7B", 7.616e9), ("Llama-8B", 8.030e9), ("Llama-70B", 70.554e9)]
)
def test_published_shapes_weigh_what_is_published(name: str, weights: float) -> None:
    assert KNOWN[f"deepseek-ai/DeepSeek-R1-Distill-{name}"].weights == pytest.approx(weights, rel=1e-3)


@pytest.mark.parametrize("sizes", [{}, {"heads": 1, "layers": 1}, {"heads": 2, "feed_forward": 80}])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_are_those_of_a_model_that_is_built(structure: str, sizes: dict[str, int]) -> None:
    model, shape = built(structure, **sizes)
    assert shape.weights == sum(parameter.numel() for parameter in model.parameters())
    names = {name.split(".")[-2] for name, p in model.named_parameters() if "proj" in name and p.ndim == 2}
    assert names <= {matrix.name for matrix in shape.matrices}
    assert of_config(model.config.to_dict() | {"dtype": "float32"}, Path("x")) == shape


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_kv_cache_is_the_one_transformers_keeps(structure: str) -> None:
    import torch

    model, shape = built(structure)
    with torch.no_grad():
        cache = model(input_ids=torch.arange(7)[None], use_cache=True).past_key_values
    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert kept == 7 * shape.kv_values


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_activations_are_about_those_kept_for_the_backward_pass(structure: str, frozen: bool) -> None:
    import torch
    from peft import get_peft_model

    from rounds.train.distil import lora_config

    model, shape = built(structure, width=128, feed_forward=384, expert_width=128, vocabulary=512)
    if frozen:
        model = get_peft_model(
            model, lora_config(recipe.Lora(rank=4, targets="attention", embeddings=False), structure)
        )
    ids = torch.randint(0, 500, (2, 150))
    mask = torch.ones_like(ids)
    mask[0, 100:] = 0
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[int, Any]] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False)
    measured = sum(size for size, _ in kept.values()) / 4 / ids.numel()
    assert 1.0 <= shape.activations(frozen) / measured < 1.25


def test_a_gpu_and_the_ram_beside_it_are_held_apart() -> None:
    given = chosen(distil={"method": "lora", "batch": 1, "lora": {"targets": "attention", "embeddings": False}})
    found = plan(given, 80 * GB, ram=8 * GB)
    assert (need(found, "distilled").place, need(found, "distilled").fits) == ("device", True)
    assert (need(found, "grades/base").place, need(found, "grades/base").fits) == ("RAM", False)
    tiny = plan(recipe.read("tiny"), GB)
    assert need(tiny, "traces").place == "device"  # a mixture of experts answers by transformers
    assert need(tiny, "packed").place == "RAM"


def test_every_stage_of_the_chain_is_planned() -> None:
    for name in ("tiny", "r1-qwen-7b"):
        given = recipe.read(name)
        found = plan(given, 64 * GB)
        assert [one.stage for one in found.stages] == list(stages(given))
        assert found.disk == sum(one.disk for one in found.stages)
        assert need(found, "grades/base").tokens > 0
        heavy = [one for one in found.stages if one.weights]
        assert all(one.memory > one.weights for one in heavy)


def test_full_training_of_seven_billion_says_what_would_fit() -> None:
    full = chosen(distil={"method": "full", "batch": 4}, trace={"max_tokens": 2048})
    found = plan(full, 80 * GB)
    row = need(found, "distilled")
    assert row.weights == 4 * QWEN_7B.weights
    assert not row.fits
    assert row.memory > 150 * GB
    assert 'distil.method = "lora"' in row.advice
    assert "would fit" in row.advice
    assert not found.fits


def test_a_smaller_batch_is_tried_first() -> None:
    lora = {"targets": "attention", "embeddings": False}
    given = chosen(distil={"method": "lora", "batch": 4, "lora": lora}, trace={"max_tokens": 1024})
    big = need(plan(given, 10**15), "distilled")
    advice = need(plan(given, big.memory - 1), "distilled").advice
    assert advice.startswith("distil.batch = 1 would fit (")
    small = need(
        plan(chosen(distil={"method": "lora", "batch": 1, "lora": lora}, trace={"max_tokens": 1024}), GB), "distilled"
    )
    assert small.activations == big.activations // 4
    assert small.weights == big.weights


def test_an_adapter_on_attention_weighs_what_peft_adds() -> None:
    from peft import get_peft_model

    from rounds.train.distil import lora_config

    for structure in STRUCTURES:
        for lora in (recipe.Lora(rank=4, targets="attention", embeddings=False), recipe.Lora(rank=4, dora=True)):
            model, _ = built(structure, vocabulary=300)
            adapted = get_peft_model(model, lora_config(lora, structure))
            trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
            given = chosen(
                student={"backbone": backbone(structure).model_dump()},
                pretrain={"vocabulary": 300},
                distil={"method": "lora", "lora": lora.model_dump()},
            )
            assert need(plan(given, GB), "distilled").optimiser == 12 * trained


def test_grpo_of_all_weights_does_not_fit_and_says_so() -> None:
    row = need(plan(chosen(grpo={"steps": 4, "max_tokens": 2048}), 80 * GB), "reasoned")
    assert not row.fits
    assert row.advice.startswith("grpo.steps = 0 would fit")
    assert need(plan(chosen(grpo={"steps": 0}), 80 * GB), "reasoned").fits


def test_the_distilled_rung_of_the_ladder_is_counted_and_left_out_first() -> None:
    with_it, without = (chosen(quantize={"group": 128, "distil_steps": steps}) for steps in (120, 0))
    big, small = (need(plan(given, 10**15), "packed") for given in (with_it, without))
    assert big.weights == small.weights == 4 * QWEN_7B.weights
    assert big.optimiser == 4 * QWEN_7B.weights + 17 * QWEN_7B.body
    assert big.activations > small.activations > 0
    assert small.optimiser == 12 * 4 * 18944**2
    advice = need(plan(with_it, big.memory - 1), "packed").advice
    assert advice.startswith("quantize.distil_steps = 0 would fit (")
    tight = need(plan(with_it, small.memory - 1), "packed").advice
    assert tight.startswith("quantize.distil_steps = 0 with quantize.gptq = false would fit (")
    for none, left in (({"bits": 8}, 0), ({"ladder": False}, small.activations)):
        assert need(plan(chosen(quantize={"group": 128, **none}), GB), "packed").activations == left


def test_recipes_for_models_from_outside_train_no_rung() -> None:
    for name in ("cpu-1.5b", "one-gpu", "r1-qwen-7b"):
        given = recipe.read(name)
        row = need(plan(given, GB), "packed")
        student = next(size for size in plan(given, GB).models if size.role == "student")
        assert row.optimiser < 4 * student.weights  # no second model beside it


def test_gptq_takes_what_was_measured() -> None:
    """Two layers, width 1,024, 2,048 tokens, float32: 1.90 GB, .53 before GPTQ began (benchmarks/README.md)."""
    shape = Shape("qwen2", 1024, 2, 8, 2, 128, 5120, 1200)
    squares = HESSIANS * 4 * shape.feed_forward**2
    seen = 4 * 2048 * (shape.feed_forward + 2 * shape.width)
    assert 4 * shape.weights + squares + seen == pytest.approx((1.90 - 0.53) * GB, rel=0.1)


def test_what_distillation_holds_is_what_is_planned() -> None:
    import torch

    from rounds.quant.distil import _grid

    model, shape = built("qwen2", width=64, feed_forward=96)
    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    assert sum(layer.weight.numel() for layer in layers) == shape.body
    before = sum(p.numel() for p in model.parameters())
    marks = 0
    for layer in layers:
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", _grid(layer.weight, 32), unsafe=True)
        held = layer.parametrizations.weight
        marks += held[0].ends.numel() * held[0].ends.element_size()
        assert layer.weight.element_size() == held.original.element_size() == 4
    assert sum(p.numel() for p in model.parameters()) == before
    assert marks == shape.body


def test_fewer_bits_are_told_where_they_help() -> None:
    wide = chosen(quantize={"bits": 8, "group": 128}, examine={"max_tokens": 600}, cases={"exam_per_condition": 1})
    eight = need(plan(wide, 10**15), "grades/packed")
    narrow = plan(wide, eight.memory - 1)
    assert need(narrow, "grades/packed").advice.startswith("quantize.bits = 4 would fit")


def test_a_smaller_student_or_machine_is_the_last_resort() -> None:
    found = plan(chosen(distil={"method": "lora", "batch": 1}), 16 * GB)
    assert 'student.checkpoint = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B" with' in need(found, "distilled").advice
    nothing = need(plan(chosen(), 2 * GB), "distilled").advice
    assert nothing.startswith("no change of this recipe fits it; the least is ")


def test_a_teacher_at_an_endpoint_needs_nothing_here() -> None:
    found = plan(chosen(), 80 * GB)
    row = need(found, "traces")
    assert (row.weights, row.kv, row.memory) == (0, 0, 0)
    assert row.tokens == 3000 * 2 * (400 + 320)
    assert [size.role for size in found.models] == ["student", "teacher"]
    assert found.models[1].bytes_16_bit == pytest.approx(141.1 * GB, rel=1e-3)
    unknown = {"endpoint": "http://127.0.0.1:8001/v1", "name": "ward-gpt"}
    assert [size.role for size in plan(chosen(teacher=unknown), GB).models] == ["student"]


def test_a_checkpoint_here_is_read_from_its_config(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "vocab_size": 500,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = plan(chosen(student={"checkpoint": str(tmp_path)}), GB)
    assert found.models[0].weights == 500 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 96) + 5 * 64
    assert need(found, "grades/base").weights == 2 * found.models[0].weights
    assert need(found, "base").disk == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "gpt2"}, "structure 'gpt2' cannot be planned; use qwen2, llama or deepseek_v3"),
        ({}, "structure 'None' cannot be planned"),
        ({"model_type": "llama", "hidden_size": 64}, r"lacks a size \('num_attention_heads'\)"),
    ],
)
def test_a_config_that_tells_too_little_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        of_config(config, Path("here"))


def test_a_checkpoint_neither_here_nor_known_is_refused() -> None:
    with pytest.raises(UserError, match="'org/name' is not on this disk and its shape is not known; download it first"):
        plan(chosen(student={"checkpoint": "org/name"}), GB)


def test_a_student_at_an_endpoint_is_refused() -> None:
    away = {"endpoint": "http://127.0.0.1:8001/v1", "name": QWEN}
    with pytest.raises(UserError, match=r"the student is at the endpoint http://.*, where nothing can be trained"):
        plan(chosen(student=away), GB)


def test_an_exam_that_is_too_small_is_called_so() -> None:
    exam = exam_of(chosen(compare={"margin": 0.02, "why_margin": "two cases in a hundred"}), 0.1)
    assert exam.cases == 660
    assert exam.needed == cases_for(0.1, 0.02) == 1963
    assert exam.enough is False
    assert exam.power is not None
    assert exam.power < 0.5
    assert exam.decides_up_to is not None
    assert (cases_for(exam.decides_up_to, 0.02) or 0) <= 660 < (cases_for(exam.decides_up_to + 0.001, 0.02) or 0)
    assert exam.smallest_loss_seen is not None
    assert 0.03 < exam.smallest_loss_seen < 0.06


def test_an_exam_that_is_large_enough_is_called_so() -> None:
    exam = exam_of(chosen(), 0.1)
    assert (exam.needed, exam.enough) == (314, True)
    assert exam.power is not None
    assert exam.power > 0.95


def test_the_exam_of_a_file_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    rows = [{"id": f"c{n}", "vignette": "v", "diagnosis": "d", "split": ("exam", "teach")[n % 2]} for n in range(10)]
    rows.append({"id": "o", "vignette": "v", "diagnosis": "d", "outside": True})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert exam_of(chosen(cases={"file": str(path)}), 0.1).cases == 5
    later = exam_of(chosen(cases={"file": str(tmp_path / "later.jsonl")}), 0.1)
    assert (later.cases, later.enough, later.needed) == (None, None, 314)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (15_231_000_000, "15.2 GB"), (2 * 10**12, "2.00 TB")],
)
def test_bytes_for_people(count: int, words: str) -> None:
    assert gigabytes(count) == words
