"""The picture of a search: its trials and their front, its history, what each setting matters."""

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from sweep.results.cells import ORACLE
from sweep.results.figures.run import BLUE, GREY, RED, percent_axis

if TYPE_CHECKING:
    from sweep.results.searches import Outcome

SHOWN = 12  # settings


def draw_search(results: "Outcome") -> Figure:
    """The figure of a search, three panels side by side."""
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    trials, history, settings = figure.subplots(1, 3)
    success = f"true attack success {ORACLE}" if results.oracle else "proxy of attack success"
    known, front = results.found, results.front
    chosen = results.pick.cell

    jobs = list(known)
    lost = [100 * known[job].lost for job in jobs]
    left = [known[job].success for job in jobs]
    points = trials.scatter(lost, left, c=jobs, cmap="viridis", s=28, gid="trials", zorder=3)
    figure.colorbar(points, ax=trials, label="trial")
    at_front = [(100 * known[job].lost, known[job].success) for job in front]
    trials.step(*zip(*at_front, strict=True), where="post", color=RED, gid="front", label="front")
    trials.axvline(
        100 * results.most_lost, color=GREY, linestyle=":", label="most that may be lost"
    )
    if chosen is not None:
        place = (100 * known[chosen.job].lost, known[chosen.job].success)
        trials.scatter(*place, marker="*", s=220, color=RED, zorder=4, gid="pick", label="pick")
    trials.set(xlabel="points of clean accuracy lost", title="Trials")
    trials.legend(fontsize=8)

    numbers = [job for job, least in enumerate(results.history) if least is not None]
    least = [results.history[job] for job in numbers]
    history.scatter(jobs, left, color=GREY, s=18, label="each trial")
    history.step(numbers, least, where="post", color=BLUE, gid="history", label="least so far")
    title = f"History, at most {100 * results.most_lost:g} points lost"
    history.set(xlabel="trial", title=title)
    history.legend(fontsize=8)
    for ax in (trials, history):
        percent_axis(ax, "y", success)
        ax.grid(alpha=0.3)

    shares = list(results.importances.items())[:SHOWN]
    settings.barh([name for name, _ in shares], [share for _, share in shares], color=BLUE)
    settings.invert_yaxis()
    percent_axis(settings, "x", "share of the variance between trials")
    settings.set(title="What the settings explain")
    return figure
