"""What the Weaver may conclude from silence, and since when."""

from __future__ import annotations

from weaver.sight import BLIND_S, SIGHT_S, Sight

NOW = 1000.0


def test_weaver_is_blind_after_its_start_and_after_a_sleep_only() -> None:
    sight = Sight(NOW)
    assert sight.blind_until == NOW + SIGHT_S
    for second in range(1, 20):
        assert not sight.step(NOW + second, is_full=False)
    assert sight.blind_until == NOW + SIGHT_S
    assert not sight.step(NOW + 20 + BLIND_S, is_full=False)
    assert sight.blind_until == NOW + 20 + BLIND_S + SIGHT_S


def test_end_of_a_full_disk_is_said_once() -> None:
    sight = Sight(NOW)
    assert [sight.step(NOW + second, is_full=second in (1, 2, 3)) for second in range(6)] == [False] * 4 + [True, False]
    assert (sight.full_until, sight.blind_until) == (NOW + 3, NOW + SIGHT_S)
