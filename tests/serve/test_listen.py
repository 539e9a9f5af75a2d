"""Binding: this machine only, and one sentence for every port that cannot be had; the unit of the page."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from rounds.records import UserError
from rounds.serve.listen import bind, url_of


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "ward.example", ""])
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(UserError, match=r"host '.*' is refused: without keys and TLS .* use 127.0.0.1, and an SSH"):
        bind(host, 0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_impossible_ports(port: int) -> None:
    with pytest.raises(UserError, match=f"port {port} does not exist"):
        bind("127.0.0.1", port)


def test_a_port_in_use() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert url_of(taken) == f"http://127.0.0.1:{port}"
        with pytest.raises(UserError, match=f"port {port} is in use; choose another with --port"):
            bind("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_loopback() -> None:
    try:
        listening = bind("::1", 0)
    except UserError:
        pytest.skip("IPv6 loopback is switched off here")
    with listening:
        assert url_of(listening).startswith("http://[::1]:")


def test_a_guarded_server_may_be_reached() -> None:
    with bind("0.0.0.0", 0, guarded=True) as listening:
        assert url_of(listening, tls=True).startswith("https://0.0.0.0:")
    with pytest.raises(UserError, match=r"host 'ward.example' is not an address"):
        bind("ward.example", 0, guarded=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: no unit checked")
def test_the_documented_unit_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    found = re.search(r"```ini\n(.*?)```", page, re.DOTALL)
    assert found
    assert "\nUser=rounds\n" in found[1]
    unit = tmp_path / "rounds.service"
    # Neither the program nor its account are on this machine.
    text = found[1].replace("/opt/rounds/bin/rounds", "/bin/true").replace("\nUser=rounds\n", "\nUser=daemon\n")
    unit.write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (told.returncode, told.stderr) == (0, "")
