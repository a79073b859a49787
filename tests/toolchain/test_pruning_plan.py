"""What a pruning study consists of, and the one line each mistake gives."""

import pytest
import torch

from runtime.errors import InputError
from tests.pruning_studies import LENET, lenet_settings
from toolchain.config import override
from toolchain.pruning.plan import Job, Plan
from toolchain.pruning.settings import Settings, make_settings

torch.set_num_threads(1)


def kinds(plan: Plan, network: str = "real") -> list[tuple[int, str]]:
    return [(job.round, job.kind) for job in plan.jobs() if job.network == network]


PLANS = {
    ("continue", "last"): ["0 last", "1 chain", "1 last", "2 last"],
    ("continue", "early"): ["0 last", "0 early", "1 chain", "1 early", "2 early"],
    ("continue", "last early"): ["0 last", "0 early", "1 chain", "1 last", "1 early", "2 last", "2 early"],
    ("rewind", "last"): ["0 last", "1 last", "2 last"],
    ("rewind", "early"): ["0 early", "1 early", "2 early"],
    ("rewind", "last early"): ["0 last", "0 early", "1 last", "1 early", "2 last", "2 early"],
}
"""By protocol and accuracies: the runs of two rounds. The chain's first run is the dense ticket."""


@pytest.mark.parametrize(("protocol", "accuracies"), PLANS)
def test_the_runs_of_each_protocol(protocol, accuracies):
    plan = Plan.of(lenet_settings(rounds=2, protocol=protocol, accuracies=accuracies.split()))
    expected = PLANS[protocol, accuracies]
    assert [f"{index} {kind}" for index, kind in kinds(plan)] == expected
    assert kinds(plan, "quaternion") == kinds(plan)
    assert len({job.run for job in plan.jobs()}) == len(plan.jobs())
    reported = [f"{job.round} {job.kind}" for job in plan.tickets() if job.network == "real"]
    assert reported == [f"{index} {kind}" for index in range(3) for kind in accuracies.split()]
    masking = [job.round for job in plan.jobs() if job.network == "real" and plan.makes_mask(job)]
    assert masking == [0, 1], "one run of every round but the last gives the next masks"


def test_a_study_of_no_rounds_trains_the_dense_networks():
    plan = Plan.of(lenet_settings(rounds=0, seeds=(3, 4)))
    assert [job.run for job in plan.jobs()] == [
        "real/seed-3/last/round-00",
        "quaternion/seed-3/last/round-00",
        "real/seed-4/last/round-00",
        "quaternion/seed-4/last/round-00",
    ]


def remaining(plan: Plan, network: str, rounds: int) -> float:
    size = plan.sizes[network]
    weights = size.weights
    for _ in range(rounds):
        weights -= round(plan.settings.share * weights)
    return 100 * (size.parameters - size.weights + weights) / plan.reference


def test_each_network_stops_at_the_first_round_within_the_limit():
    plan = Plan.of(lenet_settings(until=10))
    assert (plan.reference, plan.rounds) == (9550, {"real": 11, "quaternion": 5})
    for network, rounds in plan.rounds.items():
        assert remaining(plan, network, rounds) <= 10 < remaining(plan, network, rounds - 1)
    assert Plan.of(lenet_settings(until=10, rounds=7)).rounds == {"real": 7, "quaternion": 5}
    assert Plan.of(lenet_settings(until=100)).rounds == {"real": 0, "quaternion": 0}
    quaternions = Plan.of(lenet_settings(until=10, algebras=("quaternion",)))
    assert (quaternions.reference, quaternions.rounds) == (9550, {"quaternion": 5})


def test_tickets_differ_in_how_they_are_trained_and_in_nothing_else():
    settings = lenet_settings(accuracies=("last", "early"), early_epochs=7, patience=4, validation=0.2)
    plan = Plan.of(settings)
    last = plan.recipe(Job("quaternion", 5, "last", 3))
    early = plan.recipe(Job("quaternion", 5, "early", 3))
    assert (last.seed, last.options, last.epochs) == (5, {"algebra": "quaternion"}, 2)
    assert (last.keep, last.validation, last.patience) == ("last", 0, 0)
    assert (early.keep, early.watch, early.validation, early.patience) == ("best", "loss", 0.2, 4)
    assert early.epochs == 7
    assert plan.recipe(Job("quaternion", 5, "chain", 3)) == last
    policy = {"keep": "last", "watch": "accuracy", "validation": 0, "patience": 0, "phases": last.phases}
    assert early.model_copy(update=policy) == last


def test_a_recipe_with_another_policy_gives_the_same_tickets():
    own = override(LENET, ["keep=best", "watch=loss", "validation=0.3", "patience=2"])
    job = Job("real", 0, "last", 1)
    assert Plan.of(make_settings(own)).recipe(job) == Plan.of(lenet_settings()).recipe(job)


def test_a_model_without_algebras_is_its_own_reference():
    settings = make_settings(override(LENET, ["model=ornet-digits", "options={width=8}"]), rounds=1)
    plan = Plan.of(settings)
    assert (settings.algebras, settings.networks) == ((), ("ornet-digits",))
    assert plan.reference == plan.sizes["ornet-digits"].parameters
    assert [job.run for job in plan.jobs()] == [
        "ornet-digits/seed-0/last/round-00",
        "ornet-digits/seed-0/last/round-01",
    ]


MISTAKES = [
    ({"algebras": ("real", "octonion")}, "algebra must be one of real, quaternion, not 'octonion'"),
    ({"algebras": ("real", "real")}, "pruning: algebras: must all differ"),
    ({"seeds": (1, 2, 1)}, "pruning: seeds: must all differ, not (1, 2, 1)"),
    ({"seeds": (-1,)}, "pruning: seeds.0: input should be greater than or equal to 0, not -1"),
    ({"seeds": ()}, "pruning: seeds: tuple should have at least 1 item after validation, not 0"),
    ({"rounds": 101}, "pruning: rounds: input should be less than or equal to 100, not 101"),
    ({"share": 1.0}, "pruning: share: input should be less than 1, not 1.0"),
    ({"granularity": "bit"}, "pruning: granularity: input should be 'weight', 'quaternion' or 'channel', "),
    ({"protocol": "restart"}, "pruning: protocol: input should be 'continue' or 'rewind', not 'restart'"),
    ({"until": 0.0}, "pruning: until: input should be greater than 0, not 0.0"),
    (
        {"until": 0.1},
        "--until must be a percentage that pruning can reach, not 0.1: the real network keeps 0.251 %",
    ),
    (
        {"until": 0.2, "algebras": ("quaternion",), "granularity": "channel"},
        "--until must be a percentage that pruning can reach, not 0.2: the quaternion network keeps 1.51 %",
    ),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_a_mistake_is_told_in_one_line(options, message):
    with pytest.raises(InputError) as caught:
        Plan.of(lenet_settings(**options))
    assert str(caught.value).startswith(message)


def test_models_that_cannot_be_pruned_are_told_by_name():
    even = override(LENET, ["options.levels=4"])
    message = (
        "real network of model 'lenet-12': layer fc1.linear: only weights with an odd number of levels "
        "can be pruned, not 4: 0 must be a code"
    )
    with pytest.raises(InputError) as caught:
        Plan.of(make_settings(even))
    assert str(caught.value) == message
    with pytest.raises(
        InputError, match=r"^model 'ornet-digits' has no option 'algebra'; leave out --algebra$"
    ):
        make_settings(override(LENET, ["model=ornet-digits"]), algebras=("real",))


def test_early_stopping_needs_an_epoch_for_each_phase():
    phase = LENET.phases[0]
    two = LENET.model_copy(update={"phases": (phase, phase.model_copy(update={"name": "again"}))})
    with pytest.raises(InputError, match=r"^recipe 'small' has 2 phases and needs at least as many epochs"):
        Plan.of(make_settings(two, accuracies=("early",), early_epochs=1))


def test_settings_survive_json_unchanged():
    settings = lenet_settings(until=5, accuracies=("last", "early"))
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
