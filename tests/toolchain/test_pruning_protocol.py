"""The two protocols: what every run starts with, and where its masks come from."""

import pytest
import torch

from runtime.errors import InputError
from tests.pruning_studies import few_images, lenet_settings, state
from toolchain.layers import prunable_layers
from toolchain.pruning.magnitude import prune, set_masks, size_of
from toolchain.pruning.plan import Job
from toolchain.pruning.protocol import Runs
from toolchain.pruning.results import collect, summarize
from toolchain.pruning.study import open_study
from toolchain.training import accuracy, initial_model, load_run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images():
    return few_images()


@pytest.fixture(scope="module")
def studies(tmp_path_factory, images):
    """A finished study of two rounds by each protocol, both accuracies. Tests only read them."""
    found = {}
    for protocol in ("continue", "rewind"):
        settings = lenet_settings(
            protocol=protocol, rounds=2, accuracies=("last", "early"), early_epochs=3, patience=1
        )
        study = open_study(tmp_path_factory.mktemp(protocol), settings, resume=False)
        study.work(images, "cpu", lambda notice: None)
        assert study.errors() == {}
        found[protocol] = study.runs
    return found


def masks(runs: Runs, job: Job) -> dict[str, torch.Tensor]:
    return runs.masks(job)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("protocol", ["continue", "rewind"])
@pytest.mark.parametrize("network", ["real", "quaternion"])
def test_masks_follow_from_the_trained_weights_of_the_round_before(studies, protocol, network):
    runs = studies[protocol]
    for index in (0, 1):
        kind = "last" if protocol == "rewind" or index == 0 else "chain"
        model = load_run(runs.directory / Job(network, 0, kind, index).run).model
        before = size_of(model).weights
        assert prune(model, 0.2, "weight") == round(0.2 * before)
        expected = {path: layer.mask for path, layer in prunable_layers(model).items()}
        assert same(masks(runs, Job(network, 0, "last", index + 1)), expected)


@pytest.mark.parametrize("protocol", ["continue", "rewind"])
@pytest.mark.parametrize("kind", ["last", "early"])
def test_tickets_start_with_the_initial_weights(studies, protocol, kind):
    runs = studies[protocol]
    job = Job("quaternion", 0, kind, 2)
    model = initial_model(runs.plan.recipe(job))
    dense = model.state_dict()["fc1.linear.weight"].clone()
    set_masks(model, masks(runs, job))
    assert same(dict(runs.start(job)), model.state_dict())
    assert torch.equal(model.fc1.linear.weight, dense * model.fc1.linear.mask)
    assert runs.start(Job("quaternion", 0, kind, 0)) is None


def test_the_chain_goes_on_with_the_trained_weights(studies):
    runs = studies["continue"]
    start = runs.start(Job("real", 0, "chain", 1))
    dense = state(runs.directory, "real/seed-0/last/round-00")
    mask = masks(runs, Job("real", 0, "last", 1))["fc1.linear"]
    assert torch.equal(start["fc1.linear.weight"], dense["fc1.linear.weight"] * mask)
    assert torch.equal(start["fc1.linear.bias"], dense["fc1.linear.bias"])
    assert not (studies["rewind"].directory / "real/seed-0/chain").exists()


@pytest.mark.parametrize("protocol", ["continue", "rewind"])
def test_a_ticket_is_a_run_like_any_other_whose_pruned_weights_are_zero(studies, images, protocol):
    runs = studies[protocol]
    for ticket in collect(runs):
        run = load_run(runs.directory / ticket.run)
        assert size_of(run.model).parameters == ticket.parameters
        assert size_of(run.model).weights == ticket.weights
        for layer in prunable_layers(run.model).values():
            assert (layer.mask is None) == (ticket.round == 0)
            assert layer.mask is None or not layer.weight[~layer.mask].any()
        assert accuracy(run.model, images.test_images, images.test_labels) == ticket.accuracy
        assert not (runs.directory / ticket.run / "checkpoint.pt").exists()


def test_both_accuracies_share_the_masks(studies):
    for runs in studies.values():
        last, early = (state(runs.directory, f"real/seed-0/{kind}/round-02") for kind in ("last", "early"))
        names = [name for name in last if name.endswith(".mask")]
        assert len(names) == 2
        assert all(torch.equal(last[name], early[name]) for name in names)
        assert not torch.equal(last["fc1.linear.weight"], early["fc1.linear.weight"])


def test_results_say_what_remains_of_the_dense_real_network(studies):
    tickets = collect(studies["continue"])
    assert len(tickets) == 2 * 2 * 3
    by_round = {(t.network, t.round): (t.parameters, t.weights, t.percent) for t in tickets}
    assert by_round["real", 0] == (9550, 9528, 100)
    assert by_round["real", 1] == (9550 - 1906, 9528 - 1906, 80.0419)
    assert by_round["quaternion", 0] == (2494, 2472, 26.1152)
    assert by_round["quaternion", 2] == (2494 - 494 - 396, 2472 - 494 - 396, 16.7958)
    assert {(t.protocol, t.accuracy_protocol) for t in tickets} == {
        ("continue", "last"),
        ("continue", "early"),
    }
    assert {t.epoch for t in tickets if t.accuracy_protocol == "last"} == {2}


def test_means_and_deviations_are_over_the_seeds(tmp_path, images):
    settings = lenet_settings(rounds=0, seeds=(0, 1, 2), algebras=("quaternion",))
    study = open_study(tmp_path / "study", settings, resume=False)
    study.work(images, "cpu", lambda notice: None)
    tickets = collect(study.runs)
    (point,) = summarize(tickets)
    reached = torch.tensor([ticket.accuracy for ticket in tickets], dtype=torch.float64)
    assert len(set(reached.tolist())) > 1, "seeds differ"
    assert (point.network, point.round, point.accuracy_protocol, point.seeds) == (
        "quaternion",
        0,
        "last",
        3,
    )
    assert point.mean == pytest.approx(float(reached.mean()))
    assert point.deviation == pytest.approx(float(reached.std()))
    assert summarize(tickets[:1])[0].deviation == 0


def test_damaged_masks_are_told_in_one_line(tmp_path, images):
    study = open_study(tmp_path / "study", lenet_settings(rounds=1, algebras=("real",)), resume=False)
    study.runs.execute(Job("real", 0, "last", 0), images, "cpu", None)
    path = tmp_path / "study/real/seed-0/masks/round-01.pt"
    path.write_bytes(path.read_bytes()[:100])
    message = r"round-01\.pt is damaged or was not written by .*; delete it, --resume makes it anew$"
    with pytest.raises(InputError, match=message):
        study.runs.execute(Job("real", 0, "last", 1), images, "cpu", None)
    path.unlink()
    study.work(images, "cpu", lambda notice: None)
    assert len(collect(study.runs)) == 2
