"""A ledger as an entry of the OpenDP deployments registry.

The field names are those of the registry's template of 2026 (tier 3). What the ledger knows is
filled in; what only people know is left empty, and the status is ``Draft``.
"""

from pathlib import Path
from typing import Any

from privacy._foreign import json_text
from privacy.errors import RefusedError
from privacy.ledger.audit.reading import Reading, Spent
from privacy.ledger.audit.show import event_words
from privacy.ledger.audit.verify import verify

__all__ = ["deployment", "fields"]


def deployment(path: Path) -> str:
    """Return the YAML.

    Raises:
      RefusedError: The ledgers do not verify, or promise nothing: there is no claim to register.
    """
    return "\n".join(_yaml(fields(path))) + "\n"


def fields(path: Path) -> dict[str, Any]:
    """Return the registry's fields, as plain JSON values.

    Raises:
      RefusedError: As ``deployment``.
    """
    verdict = verify([path], None)
    if not verdict.ok:
        raise RefusedError(
            f"{path} does not verify, and a claim that fails is not exported. See `inpatient "
            "ledger verify`."
        )
    pairs = [(r, s) for r in verdict.readings for s in r.spent if s.interval is not None]
    if not pairs:
        raise RefusedError(f"{path} promises nothing: its budgets are unlimited.")
    reading, spent = max(pairs, key=_upper)
    return {
        "url_slug": f"inpatient-{_run(reading) or reading.hospital}",
        "deployment": {
            "basic": _basic([r for r in verdict.readings if r.hospital], reading),
            "dp_variant": {
                "variant_name": "Approximate DP",
                "data_domain": "Tables with one row a patient, of any number of patients up to "
                "each hospital's declared size.",
                "unprotected_quantities": "Number of patients that each hospital declared, that "
                "it took part, when, and how many bytes it sent.",
            },
            "privacy_loss": _loss(spent),
            "deployment_model": _model(),
            "implementation": _implementation(spent),
            "administrative": {
                "evidence_sources": {},
                "status": "Draft",
                "registry_authors": [""],
                "tier": 3,
            },
        },
    }


def _run(reading: Reading) -> str:
    """The newest run that the ledger tells of; empty if it tells of none."""
    return str(reading.stated()[-1].get("run", ""))


def _upper(pair: tuple[Reading, Spent]) -> float:
    interval = pair[1].interval
    return interval.upper if interval else 0.0


def _basic(readings: list[Reading], worst: Reading) -> dict[str, Any]:
    return {
        "name": _run(worst),
        "data_curators": [{"data_curator_name": r.hospital} for r in readings],
        "description": "A model trained across hospitals without moving patients' records.",
        "intended_use": "",
        "data_product_type": "Machine learning model",
        "data_product_region": "",
        "data_product_sector": "Healthcare",
        "publication_date": "",
    }


def _loss(spent: Spent) -> dict[str, Any]:
    budget, interval = spent.budget, spent.interval
    relation = budget.relation_name.lower().replace("_", " ")
    upper = interval.upper if interval else 0.0
    return {
        "privacy_unit": f"{budget.unit}-level",
        "privacy_unit_details": f"Neighbouring tables: {relation} ({budget.unit}).",
        "privacy_parameters": {"epsilon": upper, "delta": budget.delta},
        "privacy_parameters_details": f"Upper bound ({interval.method if interval else ''}) of "
        f"the hospital that spent most; budget epsilon {budget.epsilon:g}.",
    }


def _model() -> dict[str, Any]:
    return {
        "model_name": "Federated",
        "model_name_details": "Hospitals add noise before anything leaves them.",
        "trust_assumptions": "Told by the event under mechanisms: noise in shares needs honest "
        "share-holders and an opener of sums alone.",
        "actors": "Hospitals, an aggregator that adds sealed updates, an opener of sums.",
        "release_type": "Many releases",
        "release_type_details": "One a round; the budget covers all of them and is never refilled.",
        "data_source_type": "Static",
        "data_source_type_details": "",
        "access_type": "Non-interactive",
        "access_type_details": "",
    }


def _implementation(spent: Spent) -> dict[str, Any]:
    return {
        "preprocessing_and_hyperparameter_tuning": "Public constants; tuning on patients is a "
        "release of its own in the ledger.",
        "mechanisms": event_words(spent.event),
        "composition": f"{spent.rule}; second accountant (Rényi): {spent.second:.6g}.",
        "post_processing": "Addition of sealed updates, opening, the model's step.",
        "justification": "",
        "utility": "",
        "additional_information": "Verified from the hospitals' signed ledgers.",
    }


def _yaml(value: dict[str, Any], indent: str = "") -> list[str]:
    """Block YAML of mappings, lists and scalars; strings quoted as in JSON, which YAML reads."""
    lines: list[str] = []
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines += [f"{indent}{key}:", *_yaml(inner, indent + "  ")]
        elif isinstance(inner, list):
            lines.append(f"{indent}{key}:")
            for item in inner:
                if isinstance(item, dict):
                    first, *rest = _yaml(item, indent + "    ")
                    lines += [f"{indent}  - {first.strip()}", *rest]
                else:
                    lines.append(f"{indent}  - {_scalar(item)}")
        else:
            lines.append(f"{indent}{key}: {_scalar(inner)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        text = repr(value)  # YAML 1.1 takes 1e-05 for a word, 1.0e-05 for a number
        return text if "." in text else text.replace("e", ".0e")
    return json_text(value)
