"""Planted loaders of torch and Opacus, iterated in this process and judged by all their checks.

Each fault must be found by the check that is named, and sound loaders pass. The latter are drawn by
fixed seeds; without those, each would fail falsely with a probability of 5%.
"""

import pytest
import torch

from cropaudit.audit.conformance.checks import batch_law, independence, steps_and_rate
from cropaudit.audit.conformance.faults import loaders
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.outcome import Finding, decide
from cropaudit.audit.conformance.probes.loader import probe_loader
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.worker.guard import Guard


def findings(fault: Fault) -> dict[str, Finding]:
    torch.manual_seed(5)
    made = getattr(loaders, fault.subjects.loader.partition(":")[2])
    guard = Guard("loader", None, lambda: None)
    batches, draws = probe_loader(made, guard, fault.subjects, fault.claimed)
    assert batches.unread == 0
    assert draws.decoded.all()
    seen = Seen(batches=batches, loader_draws=draws)
    checks = (batch_law.check, steps_and_rate.check, independence.check)
    return {
        item.check: item for item in decide([check(seen, fault.claimed) for check in checks], 0.05)
    }


@pytest.mark.parametrize("fault", loaders.FAULTS, ids=lambda fault: fault.name)
def test_planted_faults_are_found_by_the_named_check(fault: Fault) -> None:
    found = findings(fault)[fault.check]
    assert found.status == "fail"
    assert found.p_value < 2e-3
    assert found.outcome.where.startswith(loaders.__file__)


@pytest.mark.parametrize("sound", loaders.CLEAN, ids=lambda fault: fault.name)
def test_sound_loaders_pass(sound: Fault) -> None:
    found = findings(sound)
    statuses = {name: item.status for name, item in found.items()}
    assert statuses.pop("steps and rate") == "not measured"  # how often it is gone through
    assert statuses == dict.fromkeys(statuses, "pass")
