"""What stops GRPO with an explanation: collapses that a rising curve hides.

Both collapses seen in trials are tests: a constant rate of 1e-3 that drove every answer into the cap, and a sampled
reward that rose from .728 to .819 while greedy accuracy went from .715 to .705 (docs/log.md). Left out on purpose:
repairing a run; the last good weights are kept instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CLIPPED = 0.8
"""Share of answers cut off at the cap that counts as a collapse."""
KL = 10.0
"""Nats a token from the starting model that count as a blow-up."""
FALL = 0.03
"""Fall of greedy accuracy on tune below its start that counts as a loss."""
PATIENCE = 3
"""Steps in a row a fault must last."""


@dataclass(slots=True)
class Monitor:
    """Fed once a step; `fault` says in one sentence why to stop, or nothing."""

    start_accuracy: float
    """Greedy accuracy on tune before the first step."""
    rewards: list[float] = field(default_factory=list)
    _flat: int = 0
    _clipped: int = 0

    def step(self, *, reward: float, zero_variance: float, clipped: float, kl: float | None = None) -> str | None:
        """Shares are of this step's groups (zero_variance) and answers (clipped); kl in nats a token."""
        self.rewards.append(reward)
        self._flat = self._flat + 1 if zero_variance >= 1.0 else 0
        self._clipped = self._clipped + 1 if clipped >= CLIPPED else 0
        number = len(self.rewards)
        if self._flat >= PATIENCE:
            return (
                f"step {number}: every group had answers of equal reward for {PATIENCE} steps, so nothing is learnt; "
                "raise the temperature or take harder cases"
            )
        if self._clipped >= PATIENCE:
            return (
                f"step {number}: {clipped:.0%} of the answers were cut off at the cap for {PATIENCE} steps; "
                "lower the rate or raise max_tokens"
            )
        if kl is not None and kl > KL:
            return f"step {number}: KL to the starting model is {kl:.1f} nats a token; lower the rate or raise beta"
        return None

    def look(self, accuracy: float) -> str | None:
        """Greedy accuracy on tune, looked at now and then."""
        if accuracy < self.start_accuracy - FALL:
            rising = len(self.rewards) >= 2 and self.rewards[-1] > self.rewards[0]
            return (
                f"greedy accuracy on tune fell from {self.start_accuracy:.3f} to {accuracy:.3f}"
                + (
                    f" while the sampled reward rose from {self.rewards[0]:.3f} to {self.rewards[-1]:.3f}"
                    if rising
                    else ""
                )
                + "; the reward is being won without the task"
            )
        return None
