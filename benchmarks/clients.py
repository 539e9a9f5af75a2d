"""Inspect and lm-evaluation-harness pointed at the server as they are: a small task of each, and what came of it.

    python benchmarks/clients.py RUN [--inspect BIN] [--lm-eval BIN]

BIN is the command `inspect` or `lm_eval`, of an environment of its own (their requirements clash with ours). Starts
`rounds serve RUN --unproven`. A tool that is not there is skipped by its name. The scores are those of whatever RUN
holds on a handful of cases: what is tested is that the tools and the server understand one another.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ward import Server, served

INSPECT = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import choice, includes
from inspect_ai.solver import generate, multiple_choice, self_critique, system_message

CASES = [
    Sample(input="Fever and a cough with rusty sputum for two days. Give five diagnoses.", target="pneumonia"),
    Sample(input="Crushing chest pain, sweating and nausea. Give five diagnoses.", target="infarction"),
    Sample(input="A red, hot, swollen big toe in a man who drinks beer. Give five diagnoses.", target="gout"),
]
LETTERS = [Sample(input="Fever and cough?", choices=["gout", "pneumonia"], target="B")]

@task
def five():
    return Task(dataset=CASES, solver=generate(), scorer=includes())

@task
def conversation():
    return Task(dataset=CASES, solver=[system_message("Be brief."), generate(), self_critique()], scorer=includes())

@task
def letters():
    return Task(dataset=LETTERS, solver=multiple_choice(), scorer=choice())
"""

CASES = (
    ("Fever and a cough with rusty sputum for two days. Give five diagnoses.", "pneumonia"),
    ("Crushing chest pain, sweating and nausea. Give five diagnoses.", "infarction"),
    ("A red, hot, swollen big toe in a man who drinks beer. Give five diagnoses.", "gout"),
)
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
fewshot_split: test
output_type: generate_until
num_fewshot: {shots}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{max_gen_toks: 400, temperature: 0{until}}}
filter_list:
  - name: named
    filter:
      - function: regex
        regex_pattern: "(?i)(pneumonia|infarction|gout)"
      - function: take_first
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}}
"""


def inspect(command: str, server: Server, place: Path) -> str:
    """Three tasks: one turn, a conversation that sends earlier answers back, lettered options."""
    (place / "tasks.py").write_text(INSPECT, encoding="utf-8")
    asked = [command, "eval", "tasks.py", "--model", f"openai-api/rounds/{server.model}", "--display", "none"]
    asked += ["--max-tokens", "400", "--temperature", "0", "--log-dir", "logs", "--log-format", "json"]
    env = {**os.environ, "ROUNDS_API_KEY": "none", "ROUNDS_BASE_URL": f"{server.url}/v1"}
    _run(asked, place, env)
    told = []
    for log in sorted((place / "logs").glob("*.json")):
        read = json.loads(log.read_text(encoding="utf-8"))
        scores = read["results"]["scores"] if read["status"] == "success" else []
        accuracy = ", ".join(f"accuracy {score['metrics']['accuracy']['value']:.2f}" for score in scores)
        told.append(f"{read['eval']['task']} {read['status']}, {len(read['samples'])} samples, {accuracy}")
    return "; ".join(sorted(told))


def lm_eval(command: str, server: Server, place: Path) -> str:
    """generate_until twice: with stop strings and nothing before, and with one example before each case."""
    lines = (json.dumps({"question": question, "answer": answer}) for question, answer in CASES)
    (place / "cases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, shots, until in (("five", 0, ', until: ["\\n\\n\\n"]'), ("five_one_shot", 1, "")):
        text = TASK.format(name=name, file=place / "cases.jsonl", shots=shots, until=until)
        (place / f"{name}.yaml").write_text(text, encoding="utf-8")
    told = f"model={server.model},base_url={server.url}/v1/chat/completions,num_concurrent=4,max_retries=1"
    asked = [command, "run", "--model", "local-chat-completions", "--model_args", told, "--apply_chat_template"]
    asked += ["--tasks", "five,five_one_shot", "--include_path", str(place), "--output_path", str(place / "out")]
    _run(asked, place, {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
    found = json.loads(next((place / "out").rglob("results_*.json")).read_text(encoding="utf-8"))
    return "; ".join(
        f"{name} success, {len(CASES)} samples, exact_match {values['exact_match,named']:.2f}"
        for name, values in found["results"].items()
    )


def _run(command: list[str], place: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


def _version(command: str) -> str:
    """As pip of the tool's own environment tells it."""
    name = {"inspect": "inspect-ai", "lm_eval": "lm-eval"}[Path(command).name]
    python = Path(command).resolve().parent / "python"
    code = f"from importlib.metadata import version; print(version({name!r}))"
    told = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return f"{name} {told.stdout.strip()}"


def main() -> int:
    """0 when each tool that is there got through."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("--inspect", default="inspect", metavar="BIN", help="the command (default %(default)s)")
    parser.add_argument("--lm-eval", default="lm_eval", metavar="BIN", help="the command (default %(default)s)")
    arguments = parser.parse_args()
    missed = 0
    with served(arguments.run) as server:
        for name, tool, run in (("Inspect", arguments.inspect, inspect), ("lm-eval", arguments.lm_eval, lm_eval)):
            command = shutil.which(tool)
            if command is None:
                print(f"{name:<8} skipped: no command '{tool}' here")
                continue
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="rounds-clients-") as place:
                told = run(command, server, Path(place))
            missed += len(re.findall(r"success", told)) != told.count(";") + 1
            print(f"{name:<8} {_version(command)}: {told} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
