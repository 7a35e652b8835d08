"""Targets: a local model, a server, a function by name."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from examples import refining
from seampack.errors import ConfigError, DataError
from seampack.models.functions import function_of
from seampack.models.refine import (
    HttpTarget,
    ModelTarget,
    RefineConfig,
    Refiner,
)
from seampack.models.refine.adapter import ADAPTER
from seampack.models.training import load_causal
from tests.models.refine.world import QUERIES

pytestmark = pytest.mark.xdist_group("refine-targets")  # its fixtures are expensive


def test_a_model_as_target(small: Refiner, tmp_path: Path) -> None:
    small.model.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    target = ModelTarget.load(RefineConfig(target=str(tmp_path), target_tokens=6))
    assert target(QUERIES[:3]) == small.refine(QUERIES[:3])
    config = RefineConfig(epochs=1.0, target=str(tmp_path), target_tokens=4, rewards=("quality=1",), max_new_tokens=4)
    rows = [row | {"good_res": "the old river", "bad_res": "the vault"} for row in refining.rows(8)]
    prepared = ADAPTER.prepare(Dataset.from_list(rows), config)
    artifact = ADAPTER.train(prepared, config)
    evaluation = ADAPTER.evaluate(prepared, artifact, config)
    assert isinstance(evaluation.metrics["benign_quality"], float)
    more = [row | {"good_res": None, "bad_res": "", "query": f"{row['prompt']} twice"} for row in rows[:4]]
    queries = ADAPTER.prepare(Dataset.from_list([row | {"query": row["prompt"]} for row in rows] + more), config)
    together = ADAPTER.evaluate(queries, artifact, config)
    for name in ("benign_quality", "benign_quality_before", "score_gain", "win_rate"):
        assert together.metrics[name] == pytest.approx(evaluation.metrics[name], abs=1e-5)
    assert (together.metrics["rows"], together.metrics["quality_missing"]) == (12, 4)
    with pytest.raises(DataError, match=r"reward quality: no row has a good and a bad response .* good_column"):
        ADAPTER.evaluate(queries.select(range(8, 12)), artifact, config)
    small.tokenizer.eos_token, before = None, small.tokenizer.eos_token
    small.tokenizer.save_pretrained(tmp_path)
    small.tokenizer.eos_token = before
    with pytest.raises(DataError, match="has no end token"):
        load_causal(str(tmp_path))


SERVER = """
import http.server, json, sys, time
asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        query = body["messages"][-1]["content"]
        asked.append(query)
        status, text = 200, json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": query.upper()}}]})
        if query == "slow":
            time.sleep(3)
        if query == "busy" and asked.count("busy") < 3:
            status, text = 429, "{}"
        if query == "broken":
            status, text = 500, "{}"
        if query == "nonsense":
            text = json.dumps({"choices": []})
        if query == "nothing":
            text = text.replace('"NOTHING"', "null")
        if body["model"] != "m" or self.headers["Authorization"] != "Bearer secret" or "/v1/chat" not in self.path:
            status, text = 404, json.dumps({"error": {"message": "no such model or key"}})
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", "0.01")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A chat server in a separate process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 0.1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/v1"
    server.terminate()
    server.wait()


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", "secret")


@pytest.mark.usefixtures("_key")
def test_a_server_as_target(address: str) -> None:
    config = RefineConfig(target=address, target_model="m", target_key="CHAT_KEY", target_retries=2)
    target = HttpTarget(config)
    assert target(["a", "b", "busy", "nothing"]) == ["A", "B", "BUSY", ""]
    for query, message in (("broken", "status 500"), ("nonsense", "the answer is not a chat completion")):
        with pytest.raises(DataError, match=message):
            target([query])
    with pytest.raises(DataError, match="no answer in time"):
        HttpTarget(config.replace(target_retries=0, target_timeout=0.2))(["slow"])
    with pytest.raises(ConfigError, match=r"status 404 for the model 'other': .*no such model.*; check"):
        HttpTarget(config.replace(target_model="other", target_key="NO_SUCH_KEY"))(["a"])
    with pytest.raises(DataError, match="no connection"):
        HttpTarget(config.replace(target="http://127.0.0.1:9/v1", target_retries=0))(["a"])


@pytest.mark.usefixtures("_key")
def test_a_server_by_options(address: str) -> None:
    config = RefineConfig(epochs=1.0, target=address, target_model="m", target_key="CHAT_KEY", max_new_tokens=3)
    prepared = ADAPTER.prepare(Dataset.from_list(refining.rows(4)), config)
    artifact = ADAPTER.train(prepared, config)
    assert "secret" not in json.dumps([artifact.config, artifact.facts])
    evaluation = ADAPTER.evaluate(prepared, artifact, config)
    assert evaluation.rows["response_before"][:] == [row["query"].upper() for row in prepared]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"target": "no_such_module:answer"}, ConfigError, "no such function"),
        ({"target": "examples.refining:TRIGGER"}, ConfigError, "expected a function; got str"),
        ({"target": "examples.refining:answer", "rewards": ["quality=1"]}, ConfigError, "log-probabilities"),
        ({"target": "./no_such_folder"}, DataError, "the causal language model cannot be loaded"),
    ],
)
def test_targets_that_cannot_be_loaded(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    config = RefineConfig(epochs=0.01, rl_steps=1, **changes)
    prepared = ADAPTER.prepare(Dataset.from_list(refining.rows(4)), config)
    with pytest.raises(error, match=message):
        ADAPTER.train(prepared, config)


def test_functions_are_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_mine.py").write_text("def answer(queries):\n    return queries\n")
    (tmp_path / "broken_of_mine.py").write_text("raise RuntimeError('no')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert function_of("of_mine:answer")(["a"]) == ["a"]
    with pytest.raises(ConfigError, match=r"no such function: RuntimeError\('no'\)"):
        function_of("broken_of_mine:answer")
    assert function_of("of_mine:answer")(["a"]) == ["a"]
    assert [path for path in sys.path if path == str(tmp_path)] == sys.path[-1:]  # once, after all others


def test_functions_import_their_neighbours_when_they_run(tmp_path: Path) -> None:
    """In a process that does not search the current folder, like an installed command."""
    (tmp_path / "neighbour_of_mine.py").write_text("def upper(text):\n    return text.upper()\n")
    (tmp_path / "of_mine.py").write_text(
        "def answer(queries):\n    from neighbour_of_mine import upper\n    return list(map(upper, queries))\n"
    )
    (tmp_path / "base64.py").write_text("raise RuntimeError('shadows a module of Python')\n")
    code = (
        "from seampack.models.functions import function_of\n"
        "answer = function_of('of_mine:answer')\n"
        "import base64\n"
        "print(answer(['a']))\n"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "['A']\n"), ran.stderr
