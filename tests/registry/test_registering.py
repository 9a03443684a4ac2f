"""Runs registered in a real database: versions, aliases, tags, cards, and all that is refused."""

import re

import mlflow
import pytest
import registered
from mlflow import MlflowClient, MlflowException
from registered import OTHER, B
from requests.exceptions import ConnectionError

from sweep import BadInput
from sweep.registry import card, registering
from sweep.registry.command import main
from sweep.results.pick import NONE_SAFE, NOT_COMPUTED, RESIDUAL
from sweep.tracking import artifacts, store

NO_RUN = "0" * 32


class Registry:
    """The runs of one test, and what the registry holds of its names."""

    def __init__(self, root, name: str, capsys) -> None:
        self.name = re.sub(r"\W+", "-", name)[:100]
        self.uri = f"sqlite:///{root / 'mlflow.db'}"
        self.experiment = store.connect(self.uri, name, root)
        self.client, self.capsys = MlflowClient(), capsys

    def run(self, *numbers: float | None, **more) -> str:
        return registered.finished(self.client, self.experiment, *numbers, **more)

    def sweep(self, *cells: dict) -> str:
        """A sweep's run with such cells; its id."""
        tags = {"cells": str(len(cells)), "overrides": "seed=0,1"}
        parent = self.client.create_run(self.experiment, tags=tags).info.run_id
        for job, cell in enumerate(cells):
            self.run(cell.pop("residual", 0.1), parent=parent, job=str(job), **cell)
        return parent

    def register(self, run: str) -> str:
        return registering.register(run, self.name)

    def refused(self, run: str) -> str:
        with pytest.raises(BadInput) as refusal:
            self.register(run)
        return str(refusal.value)

    def command(self, *arguments: str, exits: int = 0) -> str:
        """What `python -m sweep.register` prints, in one line."""
        assert main([*arguments, "--uri", self.uri]) == exits
        captured = self.capsys.readouterr()
        return " ".join((captured.out + captured.err).split())

    def best(self, name: str = "") -> tuple[str, str]:
        """Number and run of the best version."""
        found = self.client.get_model_version_by_alias(name or self.name, "best")
        return str(found.version), found.run_id

    def versions(self, name: str = "") -> list[str]:
        """The runs of all versions, the first first."""
        found = self.client.search_model_versions(f"name = '{name or self.name}'")
        return [one.run_id for one in sorted(found, key=lambda one: int(one.version))]

    @property
    def repaired(self) -> str:
        return f"{self.name}-repaired"


@pytest.fixture
def registry(root, request, capsys) -> Registry:
    return Registry(root, request.node.name, capsys)


def models_of(run: str) -> dict[str, str]:
    found = mlflow.get_run(run)
    models = MlflowClient().search_logged_models(
        [found.info.experiment_id], f"source_run_id = '{run}'"
    )
    return {model.name: model.model_id for model in models}


def test_the_first_is_the_best_and_both_models_point_at_those_of_the_run(registry):
    run = registry.run()
    said = registry.register(run)
    assert said == (
        f"GoodNet of run {run} is now models:/{registry.name}@best, version 1 (no other was the "
        f"best before)."
    )
    for name, kind in ((registry.name, "goodnet"), (registry.repaired, "repaired")):
        assert registry.best(name) == ("1", run)
        version = registry.client.get_model_version(name, "1")
        assert version.source == f"models:/{models_of(run)[kind]}"
        assert version.status == "READY"
        tags = {"run_id": run, "network_digest": B, "data_digest": "e23d21205720"}
        tags |= {"threat_model": "defender", RESIDUAL: "0.1"}
        tags |= {"badnet/valid_accuracy": "0.98", "repaired/valid_accuracy": "0.97"}
        assert version.tags == tags
        model = registry.client.get_logged_model(models_of(run)[kind])
        assert f'"{name}", "version": "1"' in model.tags["mlflow.modelVersions"]


def test_the_card_is_the_readme_of_the_run_and_the_description_of_both(registry):
    run = registry.run()
    registry.register(run)
    uri = mlflow.get_run(run).info.artifact_uri
    (readme,) = artifacts.read_all([uri], "README.md")
    assert readme.decode().startswith(f"# {registry.name}\n")
    assert "s3cret" not in readme.decode()
    assert "/home/me" not in readme.decode()
    for name in (registry.name, registry.repaired):
        assert registry.client.get_model_version(name, "1").description == readme.decode()
        assert registry.client.get_registered_model(name).description == readme.decode()


def test_a_card_that_is_too_long_is_cut_in_the_description_alone(registry, monkeypatch):
    monkeypatch.setattr(registering, "card", lambda *_: "a paragraph\n\n" * 1000)
    run = registry.run()
    registry.register(run)
    described = registry.client.get_model_version(registry.name, "1").description
    assert len(described) <= card.LONGEST
    assert described.endswith(f"README.md of the run {run}.\n")


def test_the_alias_moves_to_a_better_version_and_stays_otherwise(registry):
    first, better, worse = registry.run(0.5), registry.run(0.1), registry.run(0.3)
    registry.register(first)
    assert registry.register(better) == (
        f"GoodNet of run {better} is now models:/{registry.name}@best, version 2 (better than "
        f"version 1: reversed triggers do less on it, 10.0 % of the images against 50.0 %)."
    )
    assert registry.register(worse) == (
        f"GoodNet of run {worse} is now models:/{registry.name}/3, and "
        f"models:/{registry.name}@best stays version 2: reversed triggers do more on the new one, "
        f"30.0 % of the images against 10.0 %."
    )
    assert registry.register(better).endswith("stays version 2: both are equal by the rule.")
    for name in (registry.name, registry.repaired):
        assert registry.best(name) == ("2", better)
        assert registry.versions(name) == [first, better, worse, better]


def test_an_oracle_is_registered_where_nothing_else_is_and_gives_way_to_any_defender(registry):
    oracle, defender = registry.run(0.0, threat_model="oracle"), registry.run(0.9)
    assert registry.register(oracle).endswith(
        "(no other was the best before; the rule of the pick would not take it, as its order "
        "looked at poisoned images, which no defender has)."
    )
    described = registry.client.get_model_version(registry.name, "1").description
    assert "This is no defence." in described
    registry.register(defender)
    assert registry.best() == ("2", defender)
    registry.register(oracle)
    assert registry.best(registry.repaired) == ("2", defender)


def test_without_an_alias_the_next_one_is_the_best(registry):
    registry.register(registry.run(0.1))
    registry.client.delete_registered_model_alias(registry.name, "best")
    again = registry.run(0.9)
    assert "no other was the best before" in registry.register(again)
    assert registry.best() == ("2", again)


def test_another_networks_goodnet_keeps_its_name(registry):
    registry.register(registry.run())
    other = registry.run(0.0, network_digest=OTHER)
    assert registry.refused(other) == (
        f"models:/{registry.name}-repaired is of the network bbbbbbbbbbbb, and the run {other} is "
        f"of the network cccccccccccc; expected another name for another network"
    )
    assert registry.versions() == registry.versions(registry.repaired)
    assert len(registry.versions()) == 1
    assert "README.md" not in [file.path for file in registry.client.list_artifacts(other)]


@pytest.mark.parametrize("suffix", ["", "-repaired"])
def test_what_somebody_else_registered_is_left_alone(registry, suffix):
    registry.client.create_registered_model(f"{registry.name}{suffix}", {"team": "vision"})
    refused = registry.refused(registry.run())
    assert refused == (
        f"models:/{registry.name}{suffix} is there already, and was not registered by this "
        f"program; expected a name that is free, or that of a GoodNet"
    )
    assert registry.versions() == registry.versions(registry.repaired) == []


def test_a_version_of_somebody_else_that_is_the_best_is_left_so(registry):
    run = registry.run()
    registry.register(run)
    registry.client.create_model_version(registry.name, "s3://bucket/model")
    registry.client.set_registered_model_alias(registry.name, "best", "2")
    assert registry.refused(run) == (
        f"version 2 of models:/{registry.name}, which is models:/{registry.name}@best, was not "
        f"registered by this program; expected another name, or no such alias"
    )
    assert len(registry.versions()) == 2


NO_MODELS = "has no models that can be registered; expected a cell that was run with "
NO_MODELS += "tracking.models=true, of this version"


@pytest.mark.parametrize("more", [{"models": ()}, {"models": ("goodnet",)},
                                  {"without": ("network_digest",)}])  # fmt: skip
def test_without_models_it_is_refused(registry, more):
    run = registry.run(**more)
    assert f"run {run} {NO_MODELS}" in registry.refused(run)
    assert registering.require_free(registry.name) is None


def test_models_whose_files_are_gone_are_refused(registry, monkeypatch):
    run = registry.run()
    model = registry.client.get_logged_model(models_of(run)["goodnet"])
    (artifacts.local_path(model.artifact_location) / "artifacts" / "goodnet.json").unlink()
    assert NO_MODELS in registry.refused(run)


def test_a_run_that_did_not_finish_or_is_deleted_is_refused(registry):
    for ended in ("FAILED", "KILLED"):
        run = registry.run(ended=ended)
        assert registry.refused(run) == f"run {run} is {ended}; expected one that finished"
    skipped = registry.run(status="SKIPPED")
    assert registry.refused(skipped) == f"run {skipped} is SKIPPED; expected one that finished"
    deleted = registry.run()
    registry.client.delete_run(deleted)
    assert registry.refused(deleted) == f"run {deleted} is deleted; expected one that finished"


def test_what_mlflow_refuses_is_told_in_a_sentence(registry, monkeypatch):
    def refuse(*_, **__):
        raise MlflowException("this store knows no models")

    monkeypatch.setattr(MlflowClient, "create_registered_model", refuse)
    said = f"{registry.name} cannot be registered at {registry.uri} (this store knows no models)"
    assert registry.refused(registry.run()) == said


# The command


def test_the_command_registers_the_pick_of_a_sweep(registry):
    sweep = registry.sweep(
        {"residual": 0.4}, {"residual": 0.2}, {"residual": 0.0, "threat_model": "oracle"},
        {"residual": 0.0, "valid": 0.9},
    )  # fmt: skip
    said = registry.command(sweep, registry.name)
    assert said.startswith(f"GoodNet of cell 1 is now models:/{registry.name}@best, version 1 (")
    _, run = registry.best()
    assert mlflow.get_run(run).data.tags["job"] == "1"


@pytest.mark.parametrize(
    ("cell", "why"), [({"residual": None}, NOT_COMPUTED), ({"valid": 0.9}, NONE_SAFE.format(2))]
)
def test_without_a_pick_nothing_is_registered_and_that_is_said(registry, cell, why):
    said = registry.command(registry.sweep(cell), registry.name, exits=2)
    assert said == f"prunesweep: {why} So nothing was registered as {registry.name}."
    assert registering.require_free(registry.name) is None


def test_the_command_registers_a_single_run(registry):
    run = registry.run()
    said = registry.command(run, registry.name)
    assert said.startswith(f"GoodNet of run {run} is now models:/{registry.name}@best, version 1")


def test_the_command_refuses_in_a_sentence(registry, tmp_path):
    bad = registry.command(NO_RUN, "a/b", exits=2)
    assert bad.startswith("prunesweep: NAME is 'a/b'; expected a name of letters, digits")
    nobody = registry.command(NO_RUN, registry.name, exits=2)
    assert nobody.startswith(f"prunesweep: run {NO_RUN} cannot be read from sqlite:///")
    assert nobody.endswith("expected the id of a run or of a sweep, as in comparison.csv or in the "
                           "browser")  # fmt: skip
    other = registry.client.create_run(registry.experiment, run_name="of others").info.run_id
    foreign = registry.command(other, registry.name, exits=2)
    assert foreign == (
        f"prunesweep: run {other} (of others) is not one of this program; expected a sweep or a "
        f"cell, made by run.py"
    )
    missing = main([NO_RUN, "door", "--uri", f"sqlite:///{tmp_path / 'none.db'}"])
    assert missing == 2
    assert "is not there; expected the database that run.py" in registry.capsys.readouterr().err


def test_a_server_that_is_gone_is_told_as_by_all_commands(registry, monkeypatch):
    run = registry.run()

    def gone(*_, **__):
        try:
            raise ConnectionError("Connection refused")
        except ConnectionError:
            raise MlflowException("API request failed: Max retries exceeded")  # noqa: B904

    monkeypatch.setattr(MlflowClient, "create_model_version", gone)
    said = registry.command(run, registry.name, exits=2)
    assert f"the runs at {registry.uri} cannot be reached" in said
    assert said.endswith("see to the server or to tracking.uri, and give the same command again")
    monkeypatch.undo()
    assert "version 1" in registry.command(run, registry.name)
