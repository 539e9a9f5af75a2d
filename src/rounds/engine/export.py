"""A checkpoint as an OpenVINO model with its weights unchanged, through optimum-intel.

float32 stays float32, bfloat16 and float16 stay as they are. Left out on purpose: compression (`rounds.quant`), and
DeepSeek-V3, which optimum-intel does not export beside this transformers.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rounds import files
from rounds.engine import telemetry
from rounds.engine.openvino import IR
from rounds.model import checkpoint
from rounds.records import UserError

EXPORTED = ("qwen2", "llama")
"""`model_type` this module exports."""
CACHE = ".openvino"
"""Folder beside the weights, hidden so that digests leave it out."""


def export_openvino(directory: Path, out: Path) -> None:
    """Write the OpenVINO model of the checkpoint `directory` to `out`, all or nothing, tokenizer beside it.

    Raises:
        UserError: the structure is not exported, the checkpoint is faulty, or optimum-intel is missing or fails.
    """
    settings = checkpoint.check(directory)
    structure = settings.get("model_type")
    if structure not in EXPORTED:
        raise UserError(
            f"{directory}: structure '{structure}' has no OpenVINO export; use the transformers engine, "
            f"or one of {', '.join(EXPORTED)}."
        )
    stored = str(settings.get("dtype") or settings.get("torch_dtype") or "float32")
    telemetry.silence()
    with quiet():
        try:
            from optimum.exporters.openvino import export_from_model
            from optimum.intel import OVConfig
        except ImportError as error:
            raise UserError(f"optimum-intel cannot be imported ({error}); pip install 'rounds[cpu]'.") from error
        model = checkpoint.load(directory, stored)
        with files.making(out) as partial:
            export_from_model(
                model,
                partial,
                task="text-generation-with-past",
                ov_config=OVConfig(dtype="fp32"),
                stateful=True,
                patch_16bit_model=stored in ("float16", "bfloat16"),
            )
            checkpoint.copy_tokenizer(directory, partial)
            for name in ("config.json", "generation_config.json"):
                if (directory / name).is_file():
                    shutil.copyfile(directory / name, partial / name)


def exported(directory: Path) -> Path:
    """The OpenVINO model of a checkpoint, made once and kept in a hidden folder beside the weights.

    Raises:
        UserError: as `export_openvino`.
    """
    out = directory / CACHE
    mark, now = out / "of.txt", files.digest(directory)
    if not ((out / IR).is_file() and mark.is_file() and files.read_text(mark) == now):
        export_openvino(directory, out)
        files.write_text(mark, now)
    return out


@contextmanager
def quiet() -> Iterator[None]:
    """Hush the exporters: tracing warns about every Python branch, and optimum logs what is right as a warning."""
    loggers = [logging.getLogger(name) for name in ("transformers", "optimum", "nncf")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
