"""True patients beside what an attack recovered: for public or synthetic patients only."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from attacks.knowledge.features import errors, features_of
from attacks.knowledge.priors import Prior
from attacks.reconstructed import Reconstruction

__all__ = ["draw", "draw_found", "texts"]

_ROWS = 12


def draw(
    reconstruction: Reconstruction,
    truth: Float[np.ndarray, "patients features"],
    prior: Prior,
    path: Path,
) -> Path:
    """Draw up to 12 patients, best recovered first, each above the record assigned to it.

    A right value stands on dark blue, a wrong one on pale orange with a cross: no meaning by colour
    alone. Values are in clinical units; a group shows its level.

    Args:
      reconstruction: What the attack returned.
      truth: The patients, standardised.
      prior: Says what the columns mean.
      path: Where to write; the suffix says PNG or SVG.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    features = features_of(prior.schema)
    cost = errors(reconstruction.records, truth, features).mean(-1)
    rows, patients = linear_sum_assignment(cost)
    order = np.argsort(cost[rows, patients], kind="stable")[:_ROWS]
    rows, patients = rows[order], patients[order]
    wrong = errors(reconstruction.records, truth, features)[rows, patients]
    true_text = texts(truth[patients], prior)
    found_text = texts(reconstruction.records[rows], prior)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "inpatient"}):
        height = 0.9 + 0.52 * max(len(rows), 1)
        figure = Figure(figsize=(1.6 + 0.95 * len(features), height), layout="constrained")
        axes = figure.subplots()
        axes.set_xlim(0, len(features))
        axes.set_ylim(2 * max(len(rows), 1), 0)
        for i in range(len(rows)):
            for k in range(len(features)):
                axes.text(k + 0.5, 2 * i + 0.5, true_text[i][k], ha="center", va="center", size=8)
                bad = bool(wrong[i, k])
                axes.add_patch(
                    Rectangle(
                        (k + 0.02, 2 * i + 1), 0.96, 0.92, color="#fde0c5" if bad else "#20558a"
                    )
                )
                text = found_text[i][k] + (" ×" if bad else "")
                color = "#5c2a00" if bad else "white"
                axes.text(
                    k + 0.5, 2 * i + 1.46, text, ha="center", va="center", size=8, color=color
                )
        axes.set_xticks([k + 0.5 for k in range(len(features))], [f.name for f in features])
        axes.xaxis.tick_top()
        axes.set_yticks(
            [2 * i + 1 for i in range(len(rows))],
            [
                f"patient {i + 1}" + ("\n(certified)" if reconstruction.certified[r] else "")
                for i, r in enumerate(rows)
            ],
        )
        axes.tick_params(length=0, labelsize=8)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_xlabel("upper line: the true patient; lower line: recovered (× wrong)", size=8)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=120, metadata=metadata)
    return path


def draw_found(reconstruction: Reconstruction, prior: Prior, path: Path) -> Path:
    """Draw up to 12 records, most trusted first, where nobody tells who the patients were.

    Proved records stand on dark blue and say so; the others grow paler with their confidence.

    Args:
      reconstruction: What the attack returned.
      prior: Says what the columns mean.
      path: Where to write; the suffix says PNG or SVG.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    features = features_of(prior.schema)
    order = np.argsort(-reconstruction.confidence, kind="stable")[:_ROWS]
    lines = texts(reconstruction.records[order], prior)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "inpatient"}):
        size = (2.0 + 0.95 * len(features), 0.9 + 0.36 * max(len(order), 1))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_xlim(0, len(features))
        axes.set_ylim(max(len(order), 1), 0)
        labels = []
        for i, r in enumerate(order):
            proved, sure = bool(reconstruction.certified[r]), float(reconstruction.confidence[r])
            shade = (0.125, 0.333, 0.541, 1.0 if proved else 0.05 + 0.35 * sure)
            labels.append("certified" if proved else f"{sure:.0%} sure")
            for k in range(len(features)):
                axes.add_patch(Rectangle((k + 0.02, i + 0.04), 0.96, 0.92, color=shade))
                color = "white" if proved else "black"
                axes.text(
                    k + 0.5, i + 0.5, lines[i][k], ha="center", va="center", size=8, color=color
                )
        axes.set_xticks([k + 0.5 for k in range(len(features))], [f.name for f in features])
        axes.xaxis.tick_top()
        axes.set_yticks([i + 0.5 for i in range(len(order))], labels)
        axes.tick_params(length=0, labelsize=8)
        for side in axes.spines.values():
            side.set_visible(False)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=120, metadata=metadata)
    return path


def texts(rows: Float[np.ndarray, "shown features"], prior: Prior) -> list[list[str]]:
    """Return each record's features in clinical units, as words."""
    clinical = prior.schema.to_clinical(rows)
    names = prior.schema.names
    texts = []
    for i in range(len(rows)):
        line = []
        for f in features_of(prior.schema):
            if f.numeric:
                missing = rows[i, f.columns[0]] == 0 and f.mean % f.step != 0
                value = f"{clinical[i, f.columns[0]]:.4g}"
                line.append("none" if missing else value)
            elif len(f.columns) == 1:
                line.append("yes" if f.codes(rows[i : i + 1])[0] else "no")
            else:
                code = int(f.codes(rows[i : i + 1])[0])
                line.append(names[f.columns[code - 1]].split("=")[-1] if code else "reference")
        texts.append(line)
    return texts
