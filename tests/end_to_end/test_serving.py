"""GoodNet behind `mlflow models serve`: what is answered, and that no request ends it."""

import json
import random
import string
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import numpy as np
import pytest
from served_goodnet import (
    BAD_INPUTS,
    BAD_PARAMS,
    SHAPE,
    about,
    base64_of,
    images,
    logged,
    npy,
    png,
)
from services import HOST, ModelServer

pytestmark = pytest.mark.services
PIXELS = images(5)
SEEN = (PIXELS / np.float32(255)).astype(np.float32)
JSON = "application/json"
GOOD = json.dumps({"inputs": [base64_of(npy(SEEN))]}).encode()


class Served:
    """A server of a model, and what the network itself says."""

    def __init__(self, server: ModelServer, network) -> None:
        self.port, self.network = server.port, network

    def post(self, body: bytes, kind: str | None = JSON) -> tuple[int, bytes]:
        """Status and body of the answer to a request."""
        connection = HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def table(self, **request: object) -> list[dict]:
        """The rows of the answer to a good request."""
        status, body = self.post(json.dumps(request).encode())
        assert status == 200, body
        return json.loads(body, parse_constant=pytest.fail)["predictions"]

    def refuses(self, body: bytes, kind: str | None = JSON) -> str:
        """The one sentence of the answer to a bad request."""
        status, answer = self.post(body, kind)
        assert status == 400, answer[:2000]
        assert len(answer) <= 1000
        told = json.loads(answer)["message"]
        assert ". " not in told
        assert "\n" not in told
        assert "Traceback" not in answer.decode()
        return told


@pytest.fixture(scope="module")
def served(tmp_path_factory, database) -> Iterator[Served]:
    path, network = logged(tmp_path_factory.mktemp("served"), about(), database)
    server = ModelServer(path)
    yield Served(server, network)
    server.stop()


@pytest.fixture(autouse=True)
def _answers_afterwards(served) -> Iterator[None]:
    yield
    status, _ = served.post(GOOD)
    assert status == 200


def test_a_row_of_the_answer(served):
    row = served.table(inputs=SEEN.tolist())[0]
    kinds = {name: type(value) for name, value in row.items()}
    assert kinds == {
        "class": int,
        "flagged": bool,
        "score": float,
        "badnet_class": int,
        "badnet_probability": float,
        "repaired_class": int,
        "repaired_probability": float,
    }


def test_each_form_of_the_images_gets_the_answers_of_the_network(served):
    expected = np.asarray(served.network(SEEN)["class"]).tolist()
    forms = [
        {"inputs": SEEN.tolist()},
        {"instances": SEEN.tolist()},
        {"inputs": [base64_of(npy(SEEN))]},
        {"inputs": base64_of(npy(SEEN))},
        {"instances": [base64_of(png(one)) for one in PIXELS], "params": None},
    ]
    for request in forms:
        assert [row["class"] for row in served.table(**request)] == expected


def test_params_of_a_request(served):
    plain = served.table(inputs=SEEN.tolist(), params={"plain": True})
    assert all(row["class"] == row["repaired_class"] and not row["flagged"] for row in plain)
    strict = served.table(inputs=SEEN.tolist(), params={"threshold": 0})
    assert all(row["flagged"] for row in strict)


def test_many_at_once_get_their_own_answers(served):
    expected = np.asarray(served.network(SEEN)["class"]).tolist()

    def ask(number: int) -> list[int]:
        rows = served.table(inputs=[base64_of(npy(np.roll(SEEN, number, axis=0)))])
        return np.roll([row["class"] for row in rows], -number).tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == [expected] * 40


def test_ten_thousand_images(served):
    many = np.resize(SEEN, (10_000, *SHAPE))
    rows = served.table(inputs=[base64_of(npy(many))])
    expected = np.asarray(served.network(SEEN)["class"])
    np.testing.assert_array_equal([row["class"] for row in rows], np.resize(expected, 10_000))
    assert "10000 of 10000 images" in served.refuses(
        json.dumps({"inputs": [base64_of(npy(many * 255))]}).encode()
    )


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_inputs_are_refused_in_the_sentence_of_the_process(served, name):
    given, part = BAD_INPUTS[name]
    assert part in served.refuses(json.dumps({"inputs": given}).encode())


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_bad_params_are_refused(served, name):
    request = {"inputs": SEEN.tolist(), "params": {"threshold": BAD_PARAMS[name]}}
    assert "from -1 to 1" in served.refuses(json.dumps(request).encode())


@pytest.mark.parametrize("params", [[], "plain", {"plain": 1}, {"limit": 0.5}, {"threshold": True}])
def test_params_that_are_none_are_refused(served, params):
    request = {"inputs": SEEN.tolist(), "params": params}
    assert served.refuses(json.dumps(request).encode()).startswith("params may hold")


NUMBERS = json.dumps({"inputs": SEEN.tolist()}).encode()
BODIES = {
    "nothing": b"",
    "no JSON": b"images",
    "cut off": NUMBERS[:-2],
    "not UTF-8": b'{"inputs": "\xff\xfe"}',
    "compressed": b"\x1f\x8b" + bytes(range(256)) * 40,
    "null": b"null",
    "a list": json.dumps(SEEN.tolist()).encode(),
    "a number": b"1e400",
    "a long integer": b'{"inputs": [' + b"9" * 10_000 + b"]}",
    "deep": b"[" * 100_000,
    "deep object": b'{"inputs": ' * 100_000,
    "no keys": b"{}",
    "other key": b'{"pixels": [[[[0.5]]]]}',
    "another key": NUMBERS[:-1] + b', "mode": 1}',
    "long keys": json.dumps({"k" * 5000: 1, "inputs": []}).encode(),
    "both keys": b'{"inputs": [], "instances": []}',
    "only params": b'{"params": {"plain": true}}',
    "messages": b'{"messages": [], "inputs": []}',
    "prompt": b'{"prompt": "x"}',
    "frame": b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}',
    "records": b'{"dataframe_records": [{"a": 1}]}',
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_no_request_are_refused(served, name):
    served.refuses(BODIES[name])


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/csv",
        "application/vnd.apache.parquet",
        "image/png",
        ";;;",
        "application/json" + "x" * 5000,
    ],
)
def test_other_content_types_are_refused(served, kind):
    assert "application/json" in served.refuses(NUMBERS, kind)


def _spoilt(rng: random.Random) -> bytes:
    """A request of which something was changed at random."""
    body = bytearray(rng.choice((GOOD, NUMBERS, json.dumps({"inputs": png_text()}).encode())))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        what = rng.randrange(4)
        if what == 0:
            body[at] = rng.randrange(256)
        elif what == 1:
            del body[at : at + rng.randint(1, 200)]
        elif what == 2:
            body[at:at] = rng.choice(string.printable).encode() * rng.randint(1, 30)
        else:
            body[at:at] = rng.choice((b"null", b"NaN", b"[", b"]", b'"', b"{}", b"-", b"1e999"))
    return bytes(body)


def png_text() -> list[str]:
    return [base64_of(png(one)) for one in PIXELS]


def test_spoilt_requests_are_answered_or_refused(served):
    rng, end = random.Random(7), time.monotonic() + 60
    answered = refused = 0
    while answered + refused < 300 and time.monotonic() < end:
        body = _spoilt(rng)
        status, answer = served.post(body)
        if status == 200:
            json.loads(answer, parse_constant=pytest.fail)
            answered += 1
        else:
            served.refuses(body)
            refused += 1
    assert refused > 30


def test_other_ways_of_asking_leave_it_alive(served):
    for method, path in (("GET", "/invocations"), ("POST", "/nowhere"), ("PUT", "/ping")):
        connection = HTTPConnection(HOST, served.port, timeout=60)
        connection.request(method, path, b"{}")
        assert connection.getresponse().status in (404, 405)
        connection.close()
    cut = HTTPConnection(HOST, served.port, timeout=60)
    cut.putrequest("POST", "/invocations")
    cut.putheader("Content-Type", JSON)
    cut.putheader("Content-Length", "1000000")
    cut.endheaders(b'{"inputs": ')
    cut.close()
