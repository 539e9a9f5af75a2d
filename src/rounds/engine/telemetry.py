"""Nothing leaves the machine unasked: switches off the usage reports of OpenVINO's Python packages.

`openvino-telemetry` is a hard dependency of openvino, nncf and optimum-intel; without a consent file some of them
report, and there is no setting in the process for it, so its sender is replaced. Called before any of them is
imported. Left out on purpose: huggingface_hub and transformers, which report nothing when files are local.
"""

from __future__ import annotations

from typing import Any


def silence() -> None:
    """Make every later report a no-op, and keep the package from writing its consent file."""
    try:
        from openvino_telemetry.utils import opt_in_checker, sender  # type: ignore[import-untyped]
    except ImportError:
        return
    declined = opt_in_checker.ConsentCheckResult.DECLINED

    def decline(*_: Any, **__: Any) -> Any:
        return declined

    def drop(*_: Any, **__: Any) -> None:
        return None

    opt_in_checker.OptInChecker.check = decline
    sender.TelemetrySender.send = drop
