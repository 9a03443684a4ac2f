"""GoodNet and B' of a finished run, registered: `models:/NAME` and `models:/NAME-repaired`.

Each time makes a new version of both; the alias `best` moves only where `better` says so. A name is
one network's: its registered models have the network's digest as a tag, and whatever lacks it was
made by somebody else and is left alone.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow import MlflowException
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.entities.model_registry import RegisteredModel
from mlflow.tracking import MlflowClient

from sweep import BadInput
from sweep.redaction import redacted
from sweep.registry import better, names
from sweep.registry.card import card, description
from sweep.results.cells import cell_of
from sweep.results.pick import Pick
from sweep.tracking import Log, artifacts, store
from sweep.tracking.models import ABOUT
from sweep.tracking.servers import outages

NETWORK, RUN = "network_digest", "run_id"  # tags of a version; the first also of its model
README = "README.md"
SHORT = 12  # characters of a digest that are shown
VERSIONS = "mlflow.modelVersions"  # MLflow's tag of a model that says as what it is registered


@dataclass(frozen=True)
class Logged:
    """A finished run, its models GoodNet and B' (`repaired`), and what GoodNet says of itself."""

    run: Run
    goodnet: LoggedModel
    repaired: LoggedModel
    about: Mapping[str, Any]

    @property
    def network(self) -> str:
        """The digest of B."""
        return str(self.run.data.tags[NETWORK])

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a version: run, network, and what the rule of the pick reads."""
        metrics, tags = self.run.data.metrics, self.run.data.tags
        kept = {key: tags[key] for key in (better.THREAT_MODEL, better.IMAGES) if key in tags}
        kept |= {name: repr(metrics[name]) for name in better.NUMBERS if name in metrics}
        return kept | {RUN: self.run.info.run_id, NETWORK: self.network}


def register_pick(chosen: Pick, name: str) -> str:
    """Register the pick of a sweep, and return a line that says what became of it.

    Raises BadInput where there is no pick, or as `register`.
    """
    if chosen.cell is None:
        raise BadInput(f"{chosen.sentence} So nothing was registered as {name}.")
    return register(chosen.cell.run_id, name, f"cell {chosen.cell.job}")


def register(run_id: str, name: str, what: str = "") -> str:
    """Register a run as `name`, and return a line that says what became of it.

    `what` is what it is called there, "cell 3"; by default the run's id. Raises BadInput where the
    run has no models, where another network or somebody else's model bears the name, and where
    MLflow refuses.
    """
    names.require(name, "the name")
    with in_a_sentence(name):
        logged = _logged(run_id)
        old = _best(name, require_free(name, logged))
        text = card(name, logged.run, logged.about)
        with Log(logged.run) as log:
            log.text(README, text)
        of_repaired = names.of_repaired(name)
        repaired = _new_version(of_repaired, logged, logged.repaired, text)
        goodnet = _new_version(name, logged, logged.goodnet, text)
        verdict = None if old is None else better.compare(logged.tags, old[1])
        if verdict is None or verdict.better:
            MlflowClient().set_registered_model_alias(of_repaired, names.BEST, repaired)
            MlflowClient().set_registered_model_alias(name, names.BEST, goodnet)
    subject = f"GoodNet of {what or f'run {run_id}'} is now"
    if verdict is None:
        unfit = better.unfit(logged.tags)
        but = f"; the rule of the pick would not take it, as {unfit}" if unfit else ""
        return _line(subject, name, goodnet, f"no other was the best before{but}")
    assert old is not None
    if verdict.better:
        return _line(subject, name, goodnet, f"better than version {old[0]}: {verdict.why}")
    return (
        f"{subject} models:/{name}/{goodnet}, and {names.address(name)} stays version {old[0]}: "
        f"{verdict.why}."
    )


def _line(subject: str, name: str, version: str, why: str) -> str:
    return f"{subject} {names.address(name)}, version {version} ({why})."


def require_free(name: str, logged: Logged | None = None) -> RegisteredModel | None:
    """Return the GoodNet that bears `name`, None where none does yet.

    Raises BadInput where it, or what bears the name of its B', was not registered here, or is of
    another network than that of `logged`.
    """
    found = None
    for one in (names.of_repaired(name), name):
        found = _registered(one)
        if found is None:
            continue
        digest = found.tags.get(NETWORK)
        if digest is None:
            raise BadInput(
                f"models:/{one} is there already, and was not registered by this program; expected "
                f"a name that is free, or that of a GoodNet"
            )
        if logged is not None and digest != logged.network:
            raise BadInput(
                f"models:/{one} is of the network {digest[:SHORT]}, and the run "
                f"{logged.run.info.run_id} is of the network {logged.network[:SHORT]}; expected "
                f"another name for another network"
            )
    return found


@contextmanager
def in_a_sentence(name: str) -> Iterator[None]:
    """Turn what MLflow refuses while `name` is registered into a sentence.

    What says that nothing can be logged any more is raised as it is, see `store.logging_failure`.
    """
    try:
        yield
    except MlflowException as error:
        if store.logging_failure(error):
            raise
        message = outages.refusal(error) or redacted(str(error))
        reason = textwrap.shorten(message, 200, placeholder=" ...")
        place = redacted(mlflow.get_registry_uri())
        raise BadInput(f"{name} cannot be registered at {place} ({reason})") from error


def _logged(run_id: str) -> Logged:
    """Return a run with its models; BadInput where it has none, or did not finish."""
    run = MlflowClient().get_run(run_id)
    cell = cell_of(0, {}, run)
    if run.info.lifecycle_stage != "active" or not cell.finished:
        deleted = run.info.lifecycle_stage != "active"
        raise BadInput(
            f"run {run_id} is {'deleted' if deleted else cell.status}; expected one that finished"
        )
    found = MlflowClient().search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run_id}'"
    )
    models = {model.name: model for model in found if model.status == LoggedModelStatus.READY}
    about = None
    if {"goodnet", "repaired"} <= set(models) and NETWORK in run.data.tags:
        (about,) = artifacts.read_all([models["goodnet"].artifact_location], ABOUT)
    if about is None:
        raise BadInput(
            f"run {run_id} has no models that can be registered; expected a cell that was run with "
            f"tracking.models=true, of this version, whose files can be read from here"
        )
    return Logged(run, models["goodnet"], models["repaired"], json.loads(about))


def _registered(name: str) -> RegisteredModel | None:
    try:
        return MlflowClient().get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _best(name: str, model: RegisteredModel | None) -> tuple[str, Mapping[str, str]] | None:
    """Return number and tags of the version that is the best by now; None where none is.

    Raises BadInput where it was not registered here.
    """
    version = None if model is None else model.aliases.get(names.BEST)
    if version is None:
        return None
    tags = MlflowClient().get_model_version(name, str(version)).tags
    if RUN not in tags:
        raise BadInput(
            f"version {version} of models:/{name}, which is {names.address(name)}, was not "
            f"registered by this program; expected another name, or no such alias"
        )
    return str(version), tags


def _new_version(name: str, logged: Logged, model: LoggedModel, text: str) -> str:
    """Register a model of a run as a new version of `name`, and return its number."""
    client, run_id = MlflowClient(), logged.run.info.run_id
    about = description(text, run_id)
    if _registered(name) is None:
        client.create_registered_model(name, {NETWORK: logged.network}, about)
    made = client.create_model_version(
        name,
        f"models:/{model.model_id}",
        run_id,
        logged.tags,
        description=about,
        model_id=model.model_id,
    )
    _link(model.model_id, name, str(made.version))
    return str(made.version)


def _link(model_id: str, name: str, version: str) -> None:
    """Let MLflow's page of a model show as what it is registered; a server does so itself."""
    client = MlflowClient()
    known = json.loads(client.get_logged_model(model_id).tags.get(VERSIONS, "[]"))
    if not any((one["name"], str(one["version"])) == (name, version) for one in known):
        known.append({"name": name, "version": version})
        client.set_logged_model_tags(model_id, {VERSIONS: json.dumps(known)})
