"""The ledger of implants: of which networks the attack took hold, and what became of the others."""

from collections.abc import Sequence

from sweep.evaluation.implant import IMPLANTED, LARGEST_LOSS, LEAST_SUCCESS
from sweep.results.pages.answer.runs import StrategyRun
from sweep.results.pages.answer.summaries import marked_name, points, ranked
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
    """What strategies did to networks that do not count as implanted: a row for each."""
    if not runs:
        return []
    strategies = {marked_name(same): same[0].name for same in ranked(runs)}
    by_task: dict[tuple[str, ...], dict[str, str]] = {}
    for run in runs:
        texts = by_task.setdefault((run.case, run.attack, run.seed), {})
        texts[run.name] = _loss_and_success(run)
    rows = [
        [*names, *(texts.get(name, DASH) for name in strategies.values())]
        for names, texts in by_task.items()
    ]
    return [
        "## Networks that do not count as implanted",
        "Points lost / ASR of B', each network by itself.",
        table(["images", "attack", "seed", *strategies], rows, "llr"),
    ]


def _loss_and_success(run: StrategyRun) -> str:
    success = run.cell.data.metrics.get("repaired/attack_success_rate")
    return f"{points(run.accuracy_loss)} / {percent(success)}"
