"""The ledger of implants: of which networks the attack took hold, and what became of the others."""

from collections.abc import Sequence

from sweep.evaluation.implant import IMPLANTED, LARGEST_LOSS, LEAST_SUCCESS
from sweep.results.pages.answer.runs import StrategyRun
from sweep.results.pages.answer.summaries import by_name, marked_name, points
from sweep.results.pages.markdown import DASH, table, wrap
from sweep.results.pages.sweeps import case_name
from sweep.terminal import percent

HEADS = ("images", "attack", "architecture", "seed")
RATES = {
    "B clean": "badnet/clean_accuracy",
    "twin clean": "twin/clean_accuracy",
    "B ASR": "badnet/attack_success_rate",
    "twin ASR": "twin/attack_success_rate",
    "twin robust": "twin/robust_accuracy",
}
RULE = (
    f"A network counts as implanted with an ASR of at least {100 * LEAST_SUCCESS:g} %, at a clean "
    f"test accuracy at most {100 * LARGEST_LOSS:g} points below its clean twin: the same network, "
    "trained on the same images without the attack (`twin=true`). Where no twin was measured, ASR "
    "alone tells."
)


def ledger(attacked: Sequence[StrategyRun]) -> list[str]:
    """Every network of these runs, all of an attack, and whether it counts as implanted."""
    networks = {run.network: run for run in attacked}
    if not networks:
        return []
    implanted = sum(run.implant == IMPLANTED for run in networks.values())
    count = f"{implanted} of {len(networks)} networks do; the others are in no mean and in no count"
    rows = []
    for run in networks.values():
        metrics = run.ledger.data.metrics
        about = [case_name(run.cell), run.attack, run.architecture or DASH, run.seed]
        rates = [percent(metrics.get(metric)) for metric in RATES.values()]
        rows.append([*about, *rates, run.implant or DASH])
    aligned = f"lllr{'r' * len(RATES)}l"
    return [
        "## Of which networks the attack took hold",
        wrap(f"{RULE} {count}."),
        table([*HEADS, *RATES, "implanted"], rows, aligned),
    ]


def apart(runs: Sequence[StrategyRun]) -> list[str]:
    """What strategies did to networks that do not count as implanted: a column for each."""
    if not runs:
        return []
    by_network = {"{} {} seed {}".format(*run.network): run.network for run in runs}
    rows = []
    for same in by_name(runs).values():
        texts = {run.network: _loss_and_success(run) for run in same}
        names = (texts.get(network, DASH) for network in by_network.values())
        rows.append([marked_name(same), *names])
    return [
        "## Networks that do not count as implanted",
        "Points lost / ASR of B', each network by itself.",
        table(["strategy", *by_network], rows),
    ]


def _loss_and_success(run: StrategyRun) -> str:
    success = run.cell.data.metrics.get("repaired/attack_success_rate")
    return f"{points(run.accuracy_loss)} / {percent(success)}"
