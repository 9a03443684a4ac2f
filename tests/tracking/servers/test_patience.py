"""A call waits for a server that goes away, with one line, and leaves nothing twice."""

import socket
import threading
from collections.abc import Callable, Iterator
from functools import wraps

import mlflow
import pytest
from mlflow.entities import LoggedModelOutput, Metric, RunTag
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from sweep import BadInput
from sweep.tracking.servers import outages, patience

GONE = mlflow.MlflowException("the server has gone", TEMPORARILY_UNAVAILABLE)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pauses are short, and what is asked is no SQLite file."""
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "http://host:5000")
    monkeypatch.setattr(patience, "_given_up", False)
    monkeypatch.setattr(patience, "_seconds", 1.0)
    for name in ("FIRST", "PAUSE", "QUIET"):
        monkeypatch.setattr(patience, name, 0.01)


class Server:
    """It answers after so many failures."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise GONE
        return "answer"


def test_a_call_goes_on_where_the_server_comes_back_and_tells_so_once(capsys, monkeypatch):
    monkeypatch.setattr(patience, "_told_until", 0.0)
    assert patience.asked(Server(8)) == "answer"
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == "waiting for the runs at http://host:5000: no answer for 0 s, up to 1 s"


def test_it_ends_with_the_last_error_where_patience_does():
    server = Server(10**9)
    with pytest.raises(mlflow.MlflowException, match="has gone"):
        patience.asked(server)
    assert server.calls > 10


def test_who_has_given_up_and_who_is_refused_asks_once(monkeypatch):
    def refused() -> None:
        calls.append(1)
        raise mlflow.MlflowException("password authentication failed", TEMPORARILY_UNAVAILABLE)

    calls: list[int] = []
    with pytest.raises(mlflow.MlflowException):
        patience.asked(refused)
    monkeypatch.setattr(patience, "_given_up", True)
    server = Server(1)
    with pytest.raises(mlflow.MlflowException):
        patience.asked(server)
    assert (len(calls), server.calls) == (1, 1)


LOST: set[str] = set()


def losing(method: Callable) -> Callable:
    """The method of a store whose first answer is lost: what was asked for has been done."""

    @wraps(method)
    def call(*arguments: object) -> object:
        answer = method(*arguments)
        if method.__name__ not in LOST:
            LOST.add(method.__name__)
            raise GONE
        return answer

    return call


class Losing(SqlAlchemyStore):
    create_run = losing(SqlAlchemyStore.create_run)
    create_logged_model = losing(SqlAlchemyStore.create_logged_model)
    log_batch = losing(SqlAlchemyStore.log_batch)
    log_outputs = losing(SqlAlchemyStore.log_outputs)


def test_what_was_done_although_its_answer_was_lost_is_not_done_twice(root, monkeypatch):
    store = patience._patient_builder(Losing)(f"sqlite:///{root / 'mlflow.db'}", str(root))
    experiment = store.create_experiment("lost answers")
    tags = [RunTag("host", "here"), RunTag("pid", "7")]
    run = store.create_run(experiment, "me", 12345, tags, "one")
    model = store.create_logged_model(experiment, "goodnet", run.info.run_id)
    store.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    store.log_batch(run.info.run_id, [Metric("a", 0.5, 1, 0), Metric("a", 0.6, 1, 1)], [], [])
    assert {"create_run", "create_logged_model", "log_batch", "log_outputs"} == LOST
    (found,) = store.search_runs([experiment], "", mlflow.entities.ViewType.ALL)
    assert found.info.run_id == run.info.run_id
    assert [one.model_id for one in store.search_logged_models([experiment])] == [model.model_id]
    assert len(store.get_run(run.info.run_id).outputs.model_outputs) == 1
    assert [point.value for point in store.get_metric_history(run.info.run_id, "a")] == [0.5, 0.6]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("FATAL:  password authentication failed for user", "user or password is not accepted"),
        ('FATAL:  database "x" does not exist', 'database "x" does not exist'),
        ("failed with error code 401 != 200", "user, password or token is not accepted"),
        ("SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong", "it does not speak https"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "is not trusted"),
        ("Connection refused", ""),
    ],
)
def test_a_refusal_is_told_with_what_mends_it(message, told):
    assert told in outages.refusal(mlflow.MlflowException(message))
    assert bool(outages.refusal(mlflow.MlflowException(message))) == bool(told)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"HTT", id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", id="half a body"),
        pytest.param(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", id="out of order"),
    ],
)
def test_a_server_that_goes_while_it_answers_is_gone(answer):
    def one_answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(2**16)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening, patience.none(5):
        threading.Thread(target=one_answer).start()
        client = mlflow.MlflowClient(f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(mlflow.MlflowException) as failed:
            client.get_run("0" * 32)
    assert outages.is_unreachable(failed.value)
    assert len(outages.reason(failed.value)) < 60


def test_what_came_of_a_gone_server_says_so_until_it_is_a_sentence():
    errors = OSError("cannot be sent"), BadInput("there is no server"), OSError("the disk is full")
    for error in errors[:2]:
        error.__context__ = GONE
    assert list(map(outages.is_unreachable, errors)) == [True, False, False]
