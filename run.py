"""One cell of a sweep: prune a suspect network by one strategy, and see what that is worth.

python run.py                                      one cell, on the embedded faces
python run.py -m prune.frac=0.02,0.04,0.1          the lab's sweep
python -m sweep.view                               compare the cells in a browser
"""

from sweep import interrupts

if __name__ == "__main__":
    interrupts.use_default_ctrl_c()  # until something is begun

from collections.abc import Mapping
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from sweep.cli import launch, tracked

if TYPE_CHECKING:
    from sweep.cli.parts import Parts
    from sweep.tracking import Log


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@tracked
def main(cfg: DictConfig, parts: "Parts", choices: Mapping[str, str], log: "Log") -> None:
    # TensorFlow comes with these: a sweep that finds all its cells finished goes without.
    from sweep import estimation, implants, inspection, networks, rechecking
    from sweep.cli.parts import inspected_orders
    from sweep.data import examples, pairs
    from sweep.detectors import GoodNet, answers, detector_rates, flagged_csv
    from sweep.evaluation import evaluate, image_counts, pruning_curve, repaired_rates
    from sweep.pruning import RepairedNetwork, activations_of, cut_at, predict_steps, rank
    from sweep.repairs.applicability import learned_images
    from sweep.results import figures, printed

    # Clean images, perhaps poisoned ones, and the suspect network B.
    source, attack, suspect = parts.source, parts.attack, parts.suspect
    with log.stage("data"):
        files = source.files(attack)
    with log.stage("badnet"):
        badnet = suspect.network(files, attack, source.shape, source.classes)
        shape, classes = networks.shape_and_classes(badnet)
    with log.stage("read"):
        files = suspect.files(files, attack)
        images = files.images(shape, classes, cfg.seed)
        log.tags(files.tags(images, choices["attack"]))
        log.datasets(images, choices["data"], files.paths())
        if not cfg.inspect:
            figures.log_shared(log, files.digest(), lambda: figures.draw_attack(examples(files)))

    # Cut B at the layers and rank their channels, on clean validation images alone.
    cut = cut_at(badnet, cfg.prune.layer, cfg.prune.semantics, cfg.prune.unit)
    log.tags({"layer": cut.layer, "network_digest": cut.digest})
    at_cut = activations_of(cut, images, parts.cache)
    valid, defender = at_cut["valid"], at_cut["valid"].defender(cfg.seed)
    how = {"scope": cfg.prune.scope, "step": cfg.prune.step}
    if cfg.inspect or cfg.verdict:
        with log.stage("verdict"):
            verdict = inspection.inspect(defender, valid, inspected_orders(cfg), parts.stop, **how)
        printed.tell_verdict(log, verdict, cut.layer)
        if cfg.inspect:
            return
    estimation.announce(at_cut, cfg.prune.step)
    with log.stage("rank"):
        how |= {"recompute": cfg.prune.recompute, "seed": cfg.seed}
        ranking = rank(parts.order, valid, **how, pairs=lambda: pairs(files))

    # The whole pruning curve: what B says after 0, 1, 2 ... channels are pruned. There, stop.
    with log.stage("curve"):
        estimation.announce(at_cut, ranking.step, ranking)
        by_step = predict_steps(at_cut, images, ranking)
        curve = pruning_curve(ranking, classes, **by_step)
        suspect.warn(curve.valid)
        stop = parts.stop(curve.valid)
        log.tags({"stop_reached": stop.reached})

    # The pruned network, repaired: B'.
    with log.stage("repair"):
        now = RepairedNetwork.from_curve(cut, at_cut, by_step, ranking, stop.step)
        log.metrics({"prune/channels": stop.step, "prune/fraction": stop.step / cut.channels})
        if parts.repairs:
            log.metrics(repaired_rates("pruned", classes, by_step, now.predicted))
        for name, repair in parts.repairs.items():
            repaired = repair(defender.with_network(now.network))
            now = RepairedNetwork.from_pass(repaired, badnet, images)
            log.metrics(repaired_rates(name, classes, by_step, now.predicted))

    # GoodNet of B and B', its threshold set on clean images that no repair has learned. Rates.
    with log.stage("evaluate"):
        learned = learned_images(parts.repairs.values(), len(images["valid"]))
        apart = now.disagreement_on(defender.unlearned(learned))
        rule = parts.goodnet(apart["valid"][0])
        said = answers(rule, by_step, now, classes)
        printed.tell_rule(log, rule)
        if cfg.tracking.models:
            log.models(GoodNet(badnet, now.network, rule, files.pixel_range(images["valid"])))
        rates = evaluate(classes, by_step, now.predicted, apart, curve.rates, said)
        rates |= implants.of_twin(log, suspect, files, images, rates) if cfg.twin else {}
        if parts.detector:
            rates |= detector_rates(parts.detector, rule, defender, now.network, images, learned)
        attacker = parts.attacker(badnet, now.network, files, images, cfg.seed)
        with log.stage("probe"):
            rates |= attacker.probed(parts.probes)
        log.rates(rates | rule.metrics(), image_counts(by_step))
    if cfg.recheck:
        with log.stage("recheck"):
            printed.tell_recheck(log, rechecking.recheck(defender, now.network, learned))
    with log.stage("log"):
        log.curve(curve, cut.locate)
        log.predictions(by_step, now.predicted, said, apart)
        log.text("flagged.csv", flagged_csv(images, files.paths(), by_step, now, said, classes))
        ranked_by = f"{choices['prune/order']} ({parts.threat_model})"
        figures.log_cell(log, curve, stop.step, valid, ranked_by, whole=cfg.tracking.figures)


if __name__ == "__main__":
    launch(main)
