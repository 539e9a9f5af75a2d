"""Both collapses of the log are here as sequences of numbers: what the monitor must see, and what it must let be."""

from __future__ import annotations

from rounds.train.monitors import Monitor


def fed(monitor: Monitor, rewards: list[float], clipped: list[float]) -> tuple[int, str | None]:
    """Steps taken until the monitor speaks, and what it says."""
    for number, (reward, share) in enumerate(zip(rewards, clipped, strict=True), start=1):
        fault = monitor.step(reward=reward, zero_variance=0.1, clipped=share)
        if fault is not None:
            return number, fault
    return len(rewards), None


def test_a_constant_rate_that_drives_answers_into_the_cap_is_stopped() -> None:
    # Reward .70 to .42 in six steps while the clipped share went from 0 to .81.
    rewards = [0.70, 0.66, 0.60, 0.55, 0.48, 0.42, 0.40, 0.39]
    clipped = [0.00, 0.10, 0.30, 0.52, 0.70, 0.81, 0.84, 0.90]
    step, fault = fed(Monitor(0.7), rewards, clipped)
    assert step == 8
    assert fault == (
        "step 8: 90% of the answers were cut off at the cap for 3 steps; lower the rate or raise max_tokens"
    )


def test_a_reward_that_rises_without_the_task_is_stopped_at_the_next_look() -> None:
    # Sixty steps: sampled reward .728 to .819, greedy accuracy .715 to .705 on 200 cases, then lower.
    monitor = Monitor(0.715)
    rewards = [0.728 + (0.819 - 0.728) * step / 59 for step in range(60)]
    assert fed(monitor, rewards, [0.0] * 60) == (60, None)
    assert monitor.look(0.705) is None  # one point on 200 cases is noise: not yet a loss
    fault = monitor.look(0.68)
    assert fault == (
        "greedy accuracy on tune fell from 0.715 to 0.680 while the sampled reward rose from 0.728 to 0.819; "
        "the reward is being won without the task"
    )


def test_groups_of_equal_reward_teach_nothing() -> None:
    monitor = Monitor(0.5)
    assert [monitor.step(reward=0.0, zero_variance=1.0, clipped=0.0) for _ in range(2)] == [None, None]
    fault = monitor.step(reward=0.0, zero_variance=1.0, clipped=0.0)
    assert fault is not None
    assert fault.startswith("step 3: every group had answers of equal reward for 3 steps, so nothing is learnt;")


def test_one_lively_group_starts_the_count_anew() -> None:
    monitor = Monitor(0.5)
    shares = [1.0, 1.0, 0.99, 1.0, 1.0]
    assert [monitor.step(reward=0.2, zero_variance=share, clipped=0.0) for share in shares] == [None] * 5


def test_a_short_spell_of_clipping_is_let_be() -> None:
    assert fed(Monitor(0.5), [0.5] * 5, [0.9, 0.9, 0.79, 0.9, 0.9]) == (5, None)


def test_a_blow_up_of_the_kl_is_stopped_at_once() -> None:
    monitor = Monitor(0.5)
    assert monitor.step(reward=0.5, zero_variance=0.0, clipped=0.0, kl=9.9) is None
    fault = monitor.step(reward=0.5, zero_variance=0.0, clipped=0.0, kl=12.34)
    assert fault == "step 2: KL to the starting model is 12.3 nats a token; lower the rate or raise beta"


def test_a_fall_without_a_rising_reward_is_told_without_it() -> None:
    monitor = Monitor(0.5)
    monitor.step(reward=0.5, zero_variance=0.0, clipped=0.0)
    monitor.step(reward=0.4, zero_variance=0.0, clipped=0.0)
    fault = monitor.look(0.4)
    assert fault is not None
    assert "reward rose" not in fault


def test_better_or_equal_accuracy_is_let_be() -> None:
    monitor = Monitor(0.5)
    assert [monitor.look(accuracy) for accuracy in (0.5, 0.9, 0.471)] == [None, None, None]
