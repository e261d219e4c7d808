"""Who may ask the dashboard for what."""

from __future__ import annotations

from typing import Any

import pytest
from dashboard_helpers import Answer, ask

from hybridnas.dashboard.guard import Guard, is_loopback

TOKEN = "open sesame é"


def page(environ: Any, start: Any) -> list[bytes]:
    start("200 OK", [])
    return [b"the page"]


def cookie_of(answer: Answer) -> str:
    cookie, *about = answer.headers["Set-Cookie"].split("; ")
    assert about == ["HttpOnly", "SameSite=Strict", "Path=/"]
    return cookie


def test_the_token_is_asked_for_once() -> None:
    guard = Guard(page, TOKEN)
    assert ask(guard, "/dashboard/").status == 401
    answer = ask(guard, "/studies/1", query="numbers=4&token=open%20sesame%20%C3%A9&a=b")
    assert (answer.status, answer.headers["Location"]) == (303, "/studies/1?numbers=4&a=b")
    answer = ask(guard, "/studies/1", query="token=open%20sesame%20%C3%A9")
    assert (answer.status, answer.headers["Location"]) == (303, "/studies/1")
    cookie = cookie_of(answer)
    assert ask(guard, "/api/studies", HTTP_COOKIE=f"other=1; {cookie}").body == b"the page"
    assert ask(guard, "/api/studies", HTTP_COOKIE=cookie, SERVER_PORT="81").status == 401


@pytest.mark.parametrize("token", ["", "open", "open sesame ee", "Open sesame é"])
def test_a_wrong_token_is_refused(token: str) -> None:
    guard = Guard(page, TOKEN)
    assert ask(guard, "/dashboard/", query=f"token={token}").status == 401
    refused = ask(guard, "/dashboard/", HTTP_AUTHORIZATION=f"Bearer {token}")
    assert refused.document == {
        "reason": "open the address that `hybridnas dashboard` printed, with its token"
    }
    assert ask(guard, "/dashboard/", HTTP_COOKIE=f"hybridnas_80={token}").status == 401


def test_an_empty_token_lets_nobody_in() -> None:
    guard = Guard(page, "")
    assert ask(guard, "/api/studies", HTTP_AUTHORIZATION="Bearer ").status == 401
    assert ask(guard, "/api/studies", HTTP_COOKIE="hybridnas_80=").status == 401


def test_programs_bring_the_token_in_a_header() -> None:
    assert ask(Guard(page, "abc"), "/api/studies", HTTP_AUTHORIZATION="Bearer abc").status == 200
    assert ask(Guard(page, "abc"), "/api/studies", HTTP_COOKIE=';;=;a="').status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("POST", "/api/artifacts/1/1"),
        ("DELETE", "/api/artifacts/1/1/abc"),
        ("POST", "/api/studies/1/note"),
        ("PUT", "/api/studies/1/note/more"),
        ("PUT", "/api/studies/1/preference_feedback_component"),
    ],
)
def test_nothing_but_notes_can_be_changed(method: str, path: str) -> None:
    answer = ask(Guard(page), path, method=method, body={})
    assert answer.status == 403
    assert "this page only shows" in answer.document["reason"]


@pytest.mark.parametrize("path", ["/api/studies/1/note", "/api/studies/12/34/note"])
def test_notes_can(path: str) -> None:
    assert ask(Guard(page), path, method="PUT", body={}).body == b"the page"
    assert ask(Guard(page, "abc"), path, method="PUT", body={}).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("LocalHost.:8080", 200),
        ("127.0.0.1:8080", 200),
        ("127.0.0.1.:8080", 200),
        ("[::1]", 200),
        ("[::1]:8080", 200),
        ("[0:0:0:0:0:0:0:1]:8080", 200),
        ("[::2]:8080", 403),
        ("localhost..", 403),
        (".localhost", 403),
        (".", 403),
        ("studies.example.org", 403),  # whose address was made 127.0.0.1
        ("studies.example.org:8080", 403),
        ("localhost.example.org", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_without_a_token_it_answers_by_this_machine_s_own_names(host: str, status: int) -> None:
    answer = ask(Guard(page), "/api/studies", HTTP_HOST=host)
    assert answer.status == status
    if status == 403:
        assert "start `hybridnas dashboard` with --token" in answer.document["reason"]
    assert (
        ask(Guard(page, "abc"), "/", HTTP_HOST=host, HTTP_AUTHORIZATION="Bearer abc").status == 200
    )


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("localhost.", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
    ],
)
def test_who_listens_to_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone
