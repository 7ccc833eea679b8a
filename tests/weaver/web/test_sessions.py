"""Login codes are good once and for a minute; cookies for a week, and only with this key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from weaver.web.sessions import CODE_S, MOST_CODES, SESSION_S, Cookies, LoginCodes


class HandClock:
    """A clock that the test moves."""

    passed_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self.passed_s)

    def mono(self) -> float:
        return self.passed_s


def test_code_is_good_once() -> None:
    codes = LoginCodes(HandClock())
    code = codes.give()
    assert codes.take(code)
    assert not codes.take(code)
    assert not codes.take("")


def test_code_ends_after_a_minute() -> None:
    codes = LoginCodes(clock := HandClock())
    early, late = codes.give(), codes.give()
    clock.passed_s = CODE_S - 1
    assert codes.take(early)
    clock.passed_s = CODE_S + 1
    assert not codes.take(late)


def test_oldest_code_goes_when_there_are_too_many() -> None:
    codes = LoginCodes(HandClock())
    given = [codes.give() for _ in range(MOST_CODES + 1)]
    assert [codes.take(code) for code in given] == [False, *[True] * MOST_CODES]


def cookie(cookies: Cookies) -> dict[str, str]:
    return {"cookie": f"other=1; {cookies.header().partition(';')[0]}"}


def test_cookie_is_good_for_a_week_and_survives_a_restart() -> None:
    clock = HandClock()
    headers = cookie(Cookies("key", "home", clock))
    restarted = Cookies("key", "home", clock)
    clock.passed_s = SESSION_S - 1
    assert restarted.is_good(headers)
    clock.passed_s = SESSION_S + 1
    assert not restarted.is_good(headers)


def test_cookie_of_another_key_or_home_is_not_good() -> None:
    clock = HandClock()
    headers = cookie(Cookies("key", "home", clock))
    assert not Cookies("other", "home", clock).is_good(headers)
    assert not Cookies("key", "other", clock).is_good(headers)


def test_cookie_cannot_be_prolonged() -> None:
    cookies = Cookies("key", "home", HandClock())
    name, _, value = cookies.header().partition(";")[0].partition("=")
    until, _, signature = value.partition(".")
    assert cookies.is_good({"cookie": f"{name}={until}.{signature}"})
    assert not cookies.is_good({"cookie": f"{name}={int(until) + 1}.{signature}"})
