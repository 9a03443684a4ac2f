"""What an attacker is given, and the names of what its probes find."""

from types import SimpleNamespace

from sweep.attacks import Attack
from sweep.badnets import FromFile, Trained
from sweep.cli.parts import Parts

ATTACK = Attack(lambda images, white: images, target=0, rate=0.1)


def test_a_network_from_a_file_has_no_twin_and_one_trained_here_its_own(monkeypatch):
    def attacker(suspect):
        parts = SimpleNamespace(suspect=suspect, attack=ATTACK)
        return Parts.attacker(parts, "B", "B'", "files", {}, 3)

    assert attacker(FromFile("bd_net.h5")).make_twin is None
    monkeypatch.setattr(Trained, "twin", lambda self, source, attack: (self.seed, source, attack))
    trained = attacker(Trained(None, 64, 0.002, seed=7, folder="nowhere"))
    assert trained.make_twin() == (7, "files", ATTACK)
    assert (trained.badnet, trained.repaired, trained.seed) == ("B", "B'", 3)


def test_rates_stand_behind_the_name_of_their_probe(attacker, badnet):
    probes = {"mine": lambda attacker: {"5/a": attacker.seed, "b": 1}, "other": lambda attacker: {}}
    assert attacker(badnet).probed(probes) == {"mine/5/a": 0.0, "mine/b": 1.0}
