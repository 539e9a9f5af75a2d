"""Files are whole or absent: kills, full disks and missing rights leave nothing half-written under a final name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rounds import files
from rounds.records import Answer, Case, Step, UserError


def script(code: str, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    """Run code in a fresh interpreter that sees this package."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])},
    )
    if wait:
        process.wait(timeout=60)
    return process


def no_space(handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Single files ------------------------------------------------------------------------------------------------------


def test_written_text_reads_back_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "page.txt"
    files.write_text(path, "größer\n")
    files.write_text(path, "second")
    assert files.read_text(path) == "second"
    assert [p.name for p in path.parent.iterdir()] == ["page.txt"]


def test_records_read_back_line_by_line(tmp_path: Path) -> None:
    answers = [Answer(case_id=f"c{n}", diagnoses=("gout", "flu")) for n in range(3)]
    path = tmp_path / "answers.jsonl"
    files.write_jsonl(path, answers)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3
    assert list(files.read_jsonl(path, Answer)) == answers
    path.write_text("\n" + path.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    assert list(files.read_jsonl(path, Answer)) == answers


def test_a_truncated_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    whole = Answer(case_id="c").model_dump_json()
    path.write_text(f"{whole}\n\n{whole}\n{whole[:20]}", encoding="utf-8")
    with pytest.raises(UserError, match=r"answers\.jsonl:4: is not a Answer .*; mend or remove that line\.$"):
        list(files.read_jsonl(path, Answer))


def test_an_unknown_field_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "c", "vignette": "v", "diagnosis": "gout", "ward": 3}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"cases\.jsonl:1: is not a Case \(field 'ward': Extra inputs"):
        list(files.read_jsonl(path, Case))


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b"\n\n" + "größer".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.jsonl:\d: is not UTF-8; save the file as UTF-8\.$"):
        list(files.numbered_lines(path))
    with pytest.raises(UserError, match=r"latin\.jsonl: is not UTF-8; save the file as UTF-8\.$"):
        files.read_text(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (files.read_text, lambda path: list(files.numbered_lines(path))):
        with pytest.raises(UserError, match=r"none\.txt: cannot be read \(No such file or directory\); check the path"):
            read(tmp_path / "none.txt")
    with pytest.raises(UserError, match=r"none\.txt: does not exist; check the path\.$"):
        files.digest(tmp_path / "none.txt")


def test_one_record_that_fills_a_file(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    files.write_text(path, Answer(case_id="c").model_dump_json())
    assert files.read_json(path, Answer) == Answer(case_id="c")
    files.write_text(path, "{}")
    with pytest.raises(UserError, match=r"answer\.json: is not a Answer \(Field required\); make it anew\.$"):
        files.read_json(path, Answer)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.txt"
    files.write_text(path, "old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match=r"page\.txt: cannot be written \(No space left on device\); free space or"):
        files.write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.txt"]


def test_a_file_beyond_its_limit_leaves_no_final_name(tmp_path: Path) -> None:
    """A real failing write, not a patched one: the kernel stops the file at 4 KiB."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom rounds import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    files.write_text(Path(sys.argv[1]), 'x' * 100000)\n"
        "except files.UserError as error:\n    print(error)\n"
    )
    process = script(code, str(tmp_path / "big.txt"))
    out, err = process.communicate()
    assert "big.txt: cannot be written (File too large)" in out, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"page\.txt: cannot be written \(Permission denied\)"):
        files.write_text(closed / "page.txt", "x")
    with pytest.raises(UserError, match=r"run: cannot be written \(Permission denied\)"), files.making(closed / "run"):
        pass


def test_a_refused_write_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UserError, match=r"page\.txt: cannot be written \(Permission denied\)"):
        files.write_text(tmp_path / "page.txt", "x")
    with pytest.raises(UserError, match=r"page\.txt: cannot be read \(Permission denied\)"):
        list(files.numbered_lines(tmp_path / "page.txt"))


# Directories -------------------------------------------------------------------------------------------------------


def test_a_directory_appears_whole_and_replaces_the_old(tmp_path: Path) -> None:
    final = tmp_path / "cases"
    with files.making(final) as partial:
        (partial / "a.txt").write_text("1", encoding="utf-8")
        assert not final.exists()
    with files.making(final) as partial:
        (partial / "b.txt").write_text("2", encoding="utf-8")
        assert (final / "a.txt").is_file()
    assert [p.name for p in final.iterdir()] == ["b.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["cases"]


@pytest.mark.parametrize("stop", [ValueError("x"), KeyboardInterrupt(), UserError("x")])
def test_whatever_stops_the_block_leaves_nothing(tmp_path: Path, stop: BaseException) -> None:
    def make() -> None:
        with files.making(tmp_path / "cases") as partial:
            (partial / "a.txt").write_text("1", encoding="utf-8")
            raise stop

    with pytest.raises(type(stop)):
        make()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_remake_keeps_the_old_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = tmp_path / "cases"
    with files.making(final) as partial:
        (partial / "a.txt").write_text("1", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", no_space)
    with (
        pytest.raises(UserError, match=r"cases: cannot be written \(No space left on device\)"),
        files.making(final) as partial,
    ):
        (partial / "b.txt").write_text("2", encoding="utf-8")
    assert [p.name for p in final.iterdir()] == ["a.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["cases"]


def test_a_kill_in_the_middle_leaves_no_final_name_and_the_next_run_clears_up(tmp_path: Path) -> None:
    final = tmp_path / "cases"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom rounds import files\n"
        "with files.making(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half.txt').write_text('half')\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    process = script(code, str(final), wait=False)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not final.exists()
    assert [p.name for p in tmp_path.iterdir()] == [".cases.partial"]
    with files.making(final) as partial:
        assert list(partial.iterdir()) == []
        (partial / "a.txt").write_text("1", encoding="utf-8")
    assert [p.name for p in final.iterdir()] == ["a.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["cases"]


def test_a_kill_between_the_renames_is_mended_by_the_next_run(tmp_path: Path) -> None:
    (tmp_path / ".cases.old").mkdir()
    (tmp_path / ".cases.old" / "a.txt").write_text("1", encoding="utf-8")
    with files.making(tmp_path / "cases"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["cases"]


# Digests -----------------------------------------------------------------------------------------------------------


def test_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    assert files.digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_digest_of_a_directory_sees_names_and_content_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("1", encoding="utf-8")
    (folder / "sub" / "b.txt").write_text("2", encoding="utf-8")
    first = files.digest(folder)
    (folder / ".hidden").write_text("x", encoding="utf-8")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "c.txt").write_text("x", encoding="utf-8")
    (folder / files.LINEAGE).write_text("{}", encoding="utf-8")
    assert files.digest(folder) == first
    (folder / "sub" / "b.txt").write_text("3", encoding="utf-8")
    changed = files.digest(folder)
    assert changed != first
    (folder / "sub" / "b.txt").rename(folder / "b.txt")
    assert files.digest(folder) not in (first, changed)


def test_a_hidden_folder_above_does_not_hide_what_is_in_it(tmp_path: Path) -> None:
    for parent in (".hidden", "plain"):
        (tmp_path / parent / "run").mkdir(parents=True)
        (tmp_path / parent / "run" / "a.txt").write_text("1", encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    hidden = files.digest(tmp_path / ".hidden" / "run")
    assert hidden == files.digest(tmp_path / "plain" / "run")
    assert hidden != files.digest(empty)


def test_digest_of_a_value_ignores_the_order_of_keys() -> None:
    assert files.digest_of({"a": 1, "b": "ü"}) == files.digest_of({"b": "ü", "a": 1})
    assert files.digest_of({"a": 1}) != files.digest_of({"a": 2})


def test_lineage_is_read_or_none(tmp_path: Path) -> None:
    assert files.lineage(tmp_path) is None
    step = Step(verb="cases", recipe="r", figures={"n": 660})
    files.write_text(tmp_path / files.LINEAGE, step.model_dump_json())
    assert files.lineage(tmp_path) == step
