"""What a verdict is worth: how it tells networks apart, and the constants it is told by.

    python run.py -m case=signs data.root=DIR strategy=lab verdict=true data.valid_at_most=1300 \\
        tracking.experiment=verdict attack=patch,blend,warp badnet.seed=0,1,2,3
    python run.py -m case=signs data.root=DIR strategy=lab verdict=true data.valid_at_most=1300 \\
        tracking.experiment=verdict attack=patch attack.rate=1e-6 badnet.seed=0,1,2,3,4,5
    python benchmarks/verdict.py verdict

reads `signs.csv` of the cells of these experiments: the newest of each network. By attack it prints
the scores and the AUROC beside the networks without a backdoor, and last what `USUAL` of
`sweep/evaluation/suspicion.py` is by these. Where they are the networks that it was set by, the
AUROC is too good.
"""

import sys
from io import BytesIO

import numpy as np
import pandas as pd

from sweep.evaluation.detection import auroc, auroc_bootstrap
from sweep.evaluation.suspicion import excess
from sweep.results.cells import is_attacked
from sweep.results.sources import Entry, find
from sweep.tracking import artifacts

FEWEST = 0.3  # deviation that a few networks can tell
WEAK = "too weak"


def main() -> None:
    newest = {}
    for entry in find(sys.argv[1:], None):
        if entry.run is not None and "inspect/score" in entry.run.data.metrics:
            newest[entry.run.data.tags["network_digest"]] = entry
    groups: dict[str, list[Entry]] = {}
    for entry in newest.values():
        groups.setdefault(_attack(entry), []).append(entry)
    clean = groups.pop("", [])
    print(f"no attack: {_listed(_scores(clean))}")
    usual = _scores(clean)
    for attack, entries in sorted(groups.items()):
        area = f"AUROC {auroc(usual, _scores(entries)):.3f}; " if clean else ""
        print(f"{attack}: {area}{_listed(_scores(entries))}")
    strong = [e for attack, entries in groups.items() if WEAK not in attack for e in entries]
    if clean and strong:
        low, high = auroc_bootstrap(usual, _scores(strong))
        told = f"AUROC {auroc(usual, _scores(strong)):.3f} ({low:.3f} to {high:.3f})"
        print(f"{len(clean)} networks without a backdoor, {len(strong)} with one: {told}")
    if clean:
        _print_usual(clean)


def _attack(entry: Entry) -> str:
    """The attack, "" for none; apart where it did not take hold."""
    run = entry.run
    if not is_attacked(run):
        return ""
    success = run.data.metrics["badnet/attack_success_rate"]
    return run.data.params["attack"] + ("" if success >= 0.85 else f", {WEAK}")


def _scores(entries: list[Entry]) -> list[float]:
    return [entry.run.data.metrics["inspect/score"] for entry in entries]


def _listed(scores: list[float]) -> str:
    return ", ".join(f"{score:.1f}" for score in sorted(scores))


def _print_usual(clean: list[Entry]) -> None:
    tables = artifacts.read_all([entry.run.info.artifact_uri for entry in clean], "signs.csv")
    found = pd.concat(
        [pd.read_csv(BytesIO(data)).assign(network=number) for number, data in enumerate(tables)]
    )
    found["excess"] = excess(found["share"], found["reference"])
    found["over_all"] = found["cls"].isna()
    largest = found.groupby(["family", "over_all", "network"])["excess"].max()
    for family in found["family"].unique():
        pairs = [
            (largest[family, over_all].mean(), max(FEWEST, largest[family, over_all].std()))
            for over_all in (False, True)
        ]
        print(f"{family}: " + ", ".join(f"({mean:.2f}, {spread:.2f})" for mean, spread in pairs))


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
