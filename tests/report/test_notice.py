"""A search's end is told once, with the answer in a line, and nothing fails for it."""

import json
import shlex
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.study_answers import confirmation
from tests.study_events import four_trials, study_config
from ucluster_tune.config.loading import load_study_config
from ucluster_tune.errors import ConfigurationError
from ucluster_tune.report.notice import Notice, answer_line
from ucluster_tune.study.events import StudyEnded, StudyEvaluated
from ucluster_tune.study.record import StudyRecord

TEST = {"clustering_accuracy": 0.68, "clustering_accuracy_batched": 0.7}


def record_of(*further: Any) -> StudyRecord:
    first, *events = four_trials()
    record = StudyRecord(first)
    for event in (*events, *further):
        record.apply(event)
    return record


def ended() -> StudyRecord:
    return record_of(StudyEvaluated(trial="0001", test=TEST), StudyEnded(state="complete"))


class Chat(BaseHTTPRequestHandler):
    """Keeps what it is told, and answers with the status of its server."""

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        server: Any = self.server  # has what `chat` gives it
        server.heard.append(json.loads(self.rfile.read(length)))
        self.send_response(server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def chat() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Chat)
    server.heard, server.status = [], 200
    server.address = f"http://127.0.0.1:{server.server_port}/secret-hook"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def told(record: StudyRecord, notify: dict[str, str], timeout_s: float = 10.0) -> list[str]:
    """Have a search's end told; return what was said of it."""
    said: list[str] = []
    notice = Notice(said.append, timeout_s)
    notice.on_study_start(study_config(notify=notify), record)
    notice.on_study_end(record)
    return said


def test_line_holds_the_answer() -> None:
    line = answer_line(ended())
    start = "Study jets is complete: best is trial 0001 with clustering accuracy 70.0 % on valid"
    assert line.startswith(start)
    assert "68.0 % on test jets; 3 of 4 trials in " in line
    failed = record_of(StudyEnded(state="failed", cause="3 trials in a row\nfailed"))
    assert answer_line(failed).startswith("Study jets is failed (3 trials in a row): best is")
    assert "\n" not in answer_line(failed)


def test_line_of_a_confirmation_is_its_first_sentence() -> None:
    record = record_of(StudyEnded(state="complete"), *confirmation())
    words = "Study jets: Trial 0001 is not better than the published recipe."
    assert answer_line(record, is_confirmation=True) == words


def test_webhook_and_command_are_told_once(chat: Any, tmp_path: Path) -> None:
    heard = tmp_path / "heard.txt"
    write = f"import sys; open({str(heard)!r}, 'a').write(sys.argv[1])"
    command = shlex.join([sys.executable, "-c", write])
    record = ended()
    assert told(record, {"webhook": chat.address, "command": command}) == []
    (message,) = chat.heard
    assert message == {"text": answer_line(record), "study": "jets", "state": "complete"}
    assert heard.read_text() == answer_line(record)


def test_address_may_be_in_a_variable(chat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_HOOK", chat.address)
    assert told(ended(), {"webhook": "$CHAT_HOOK"}) == []
    assert len(chat.heard) == 1
    monkeypatch.delenv("CHAT_HOOK")
    (said,) = told(ended(), {"webhook": "$CHAT_HOOK"})  # at the start already, and once
    assert said.endswith("notify.webhook: the variable CHAT_HOOK holds no address here")


def test_what_cannot_be_told_is_said_without_the_address(chat: Any) -> None:
    chat.status = 404
    (said,) = told(ended(), {"webhook": chat.address})
    assert said.startswith("The webhook at 127.0.0.1 was not told of the end: HTTP Error 404")
    assert "secret" not in said


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("no-such-program at all", "No such file"),
        (shlex.join([sys.executable, "-c", "import sys; sys.exit('no mail here')"]), "no mail"),
        (shlex.join([sys.executable, "-c", "input()"]), "EOF"),
    ],
)
def test_command_that_fails_is_said(command: str, why: str) -> None:
    (said,) = told(ended(), {"command": command})
    assert said.startswith("notify.command did not tell of the end: ")
    assert why in said


def test_command_that_hangs_is_ended(tmp_path: Path) -> None:
    hang = shlex.join([sys.executable, "-c", "import threading; threading.Event().wait()"])
    (said,) = told(ended(), {"command": hang}, timeout_s=0.5)
    assert "timed out after 0.5 seconds" in said


@pytest.mark.parametrize(
    ("notify", "fault"),
    [
        ("{webhook: chat.example}", "notify.webhook: must begin with https:// or http://"),
        ("{webhook: 'https://me:secret@chat.example'}", "notify.webhook: must hold no password"),
        ('{command: "mail \'me"}', "notify.command: cannot be read as words, no closing quot"),
        ("{command: ''}", "notify.command: must name a program"),
        ("{mail: me}", "notify.mail: unknown key"),
    ],
)
def test_faults_are_found_by_check(tmp_path: Path, notify: str, fault: str) -> None:
    file = tmp_path / "jets.yaml"
    file.write_text(f"data: {{path: jets}}\nnotify: {notify}\n")
    with pytest.raises(ConfigurationError) as raised:
        load_study_config(file)
    (found,) = raised.value.faults
    assert found.startswith(fault)
