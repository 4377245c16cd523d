"""The report as one HTML file that needs no network, no script and no file beside it.

Every text of the report is escaped by the template engine; the pictures are drawn here and contain
no text that was not escaped by an XML writer. A content policy in the page forbids all loading.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from cropaudit.audit.result import AuditReport
from cropaudit.reports import numbers, view, words
from cropaudit.reports.plots import plot_report
from cropaudit.reports.store import canonical_json, sha256

__all__ = ["render_html"]

_VERDICTS = {
    "violation": "The measured leakage exceeds the claim.",
    "consistent": "Nothing that was measured contradicts the claim.",
    "inconclusive": "This audit can neither refute nor support the claim.",
}
_GROUNDS = {
    "assumption-free": "needs nothing beyond the independence of the games",
    "given the family": "holds if the mechanism belongs to the claimed family",
}
_VALIDITY = {
    "exact": "Holds at every sample size, by a proof.",
    "credible": "A Bayesian probability under a stated prior; no guaranteed coverage.",
    "asymptotic": "Holds in the limit of many games; may fail at this number.",
    "model-based": "Holds if the mechanism follows the assumed model.",
}


def render_html(
    report: AuditReport,
    *,
    inclusion: NDArray[np.floating],
    pictures: Mapping[str, bytes],
) -> str:
    """Returns the report as a self-contained HTML document, equal for equal inputs.

    Args:
        report: The audit's result.
        inclusion: Inclusion probability by the patch's top-left row and column.
        pictures: The canaries' PNG files, under the names that the report gives them.

    Raises:
        InputError: If ``inclusion`` is not a matrix of probabilities or a picture is not a PNG.
    """
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=report,
        plots=plot_report(report, inclusion),
        attacks=view.attack_views(report),
        canaries=view.canary_views(report, pictures),
        parameters=view.parameters(report.claim),
        attacked=list(words.attacked(report)),
        worth=words.worth(report.claim),
        learning=words.learning(report.utility),
        records=words.records(
            report.claim.records, report.claim.canary_records, report.claim.canaries
        ),
        alone=words.alone(
            report.claim.records - report.claim.canary_records,
            report.claim.epsilon_without_canaries,
            report.claim.canary_records,
        ),
        classes=view.utility_rows(report.utility),
        config=yaml.safe_dump(dict(report.provenance.config), sort_keys=True, allow_unicode=True),
        verdicts=_VERDICTS,
        grounds=_GROUNDS,
        validity=_VALIDITY,
        digest=sha256(canonical_json(report)),
    )


def _environment() -> Environment:
    """Returns the template engine: everything escaped, an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("cropaudit.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= _filters()
    return environment


def _filters() -> dict[str, Any]:
    """Returns the template's number formats."""
    return {
        "at_least": lambda x: numbers.superscript(numbers.format_lower(max(x, 0.0))),
        "at_most": lambda x: numbers.superscript(numbers.format_upper(x)),
        "epsilons": lambda text: (
            text.replace("epsilon >=", "ε ≥").replace("epsilon <=", "ε ≤").replace("epsilon", "ε")
        ),
        "number": lambda x, digits=4: numbers.superscript(numbers.format_value(x, digits)),
        "signed": lambda x: numbers.format_value(x, 3).replace("-", "−"),
        "count": lambda n: f"{n:,}",
        "percent": numbers.format_percent,
        "confidence": numbers.format_confidence,
        "duration": numbers.format_duration,
        "interval": _interval,
        "percent_interval": _percent_interval,
        "svg": lambda picture: Markup(picture.svg),
    }


def _interval(x: view.Interval) -> str:
    """Returns limits of a share with two decimals, rounded outwards."""
    return f"{np.floor(100 * x.low) / 100:.2f} to {np.ceil(100 * x.high) / 100:.2f}"


def _percent_interval(x: view.Interval) -> str:
    """Returns limits of a rate as percentages, rounded outwards."""
    low, high = numbers.format_lower(100 * x.low, 2), numbers.format_upper(100 * x.high, 2)
    return f"{numbers.superscript(low)} to {numbers.superscript(high)}%"
