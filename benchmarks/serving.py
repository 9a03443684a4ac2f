"""What a served GoodNet answers a second, beside goodnet.keras called in a loop.

    python benchmarks/serving.py

B and B' are DeepIDs of the lab's size, weights drawn by seed. A request holds 32 images, as one
.npy file, as 32 PNG files or as lists of numbers. The forms take turns with the loops over the same
images, and the median of each counts, so that all meet the same machine. Two minutes on 2 cores.
"""

import argparse
import base64
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import mlflow
import numpy as np
from PIL import Image

from sweep.data.images import PixelRange
from sweep.detectors import GoodNet, Rule
from sweep.networks import architectures, forward
from sweep.tracking import models, store

HOST = "127.0.0.1"
SHAPE, CLASSES, SCALE = (55, 47, 3), 120, 255
IMAGES = 32  # a request
START_TIMEOUT = 120.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=20, help="of each form (default 20)")
    turns = parser.parse_args().turns
    with TemporaryDirectory() as folder:
        goodnet = Path(folder) / "goodnet.keras"
        model = _logged(Path(folder), goodnet)
        for start in ("cold", "warm"):
            began = time.perf_counter()
            with _server(model) as port:
                print(f"{start} start: {time.perf_counter() - began:.1f} s")
                if start == "warm":
                    _print_rates(keras.models.load_model(goodnet), port, turns)


def _logged(folder: Path, keras_file: Path) -> Path:
    """Log a GoodNet as run.py does, as `keras_file` too; return the folder of its model."""
    badnet, repaired = (_deepid(seed) for seed in (0, 1))
    goodnet = GoodNet(badnet, repaired, Rule(0.9), PixelRange(0.0, 1.0, SCALE))
    experiment = store.connect(f"sqlite:///{folder / 'mlflow.db'}", "serving", folder)
    run = mlflow.MlflowClient().create_run(experiment)
    ids = models.log(run.info, goodnet, keras_file, {}, {})
    return Path(mlflow.artifacts.download_artifacts(f"models:/{ids['goodnet']}"))


def _deepid(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return architectures.deepid(SHAPE, CLASSES)


@contextmanager
def _server(model: Path) -> Iterator[int]:
    """Serve the model as the README does; yields the port once it answers."""
    with socket.socket() as tried:
        tried.bind((HOST, 0))
        port = tried.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", str(model), "-h", HOST, "-p", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # its uvicorn
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(
        command, cwd=model, env=os.environ | {"PATH": path}, start_new_session=True, **quiet
    )
    try:
        _wait_for(port)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the server is a child of it
        server.wait()


def _wait_for(port: int) -> None:
    began = time.perf_counter()
    while time.perf_counter() - began < START_TIMEOUT:
        connection = HTTPConnection(HOST, port)
        try:
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise SystemExit(f"no server within {START_TIMEOUT:g} s")


def _print_rates(goodnet: keras.Model, port: int, turns: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, *SHAPE)).astype(np.uint8)
    images = (pixels / np.float32(SCALE)).astype(np.float32)
    run = forward.compiled(lambda given: goodnet(given), [forward.image_spec(goodnet)])
    connection = HTTPConnection(HOST, port)
    lists = json.dumps({"inputs": images.tolist()})

    def posted(inputs: list[str] | str) -> Callable[[], object]:
        body = inputs if isinstance(inputs, str) else json.dumps({"inputs": inputs})
        return lambda: _post(connection, body)

    forms: dict[str, Callable[[], object]] = {
        "loop of goodnet.predict": lambda: goodnet.predict(images, verbose=0),
        "loop of goodnet, compiled": lambda: np.asarray(run(images)["class"]),
        "request of a .npy": posted([_base64(lambda file: np.save(file, images))]),
        "request of 32 PNG": posted([_base64(partial(_save_png, one)) for one in pixels]),
        "request of lists": posted(lists),
        "  of which to read them": lambda: np.array(json.loads(lists)["inputs"], np.float64),
    }
    for form in forms.values():
        form()
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(turns):
        for name, form in forms.items():
            began = time.perf_counter()
            form()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    loops = list(medians.values())[:2]
    print(f"{'':26}{'ms':>8}{'images/s':>10}{'of predict':>12}{'of compiled':>12}")
    for name, median in medians.items():
        shares = "".join(f"{loop / median:>11.0%} " for loop in loops)
        print(f"{name:26}{1e3 * median:>8.1f}{IMAGES / median:>10.0f}{shares}".rstrip())


def _base64(save: Callable[[BytesIO], object]) -> str:
    file = BytesIO()
    save(file)
    return base64.b64encode(file.getvalue()).decode()


def _save_png(pixels: np.ndarray, file: BytesIO) -> None:
    Image.fromarray(pixels).save(file, "PNG")


def _post(connection: HTTPConnection, body: str) -> None:
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"status {answer.status}")


if __name__ == "__main__":
    main()
