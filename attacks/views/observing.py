r"""What each adversary sees of a run, made from the transcript and from nothing else.

An adversary is a position, and the knowledge that comes with it. Its view is a function of the
messages that its position meets: the truth (who was drawn, what they are) is not among them.

==============  =====================================================================
eavesdropper    who sent how many bytes to whom, and when
server_plain    each hospital's update, in clear
server_sealed   sealed updates (noise to it) and the opened sums
buffered        the same, with sums of few, stale and repeated contributors
longitudinal    the same over all rounds, with who took part in each
active          the same, at models that the server itself chose
key_holder      opened sums, and every single update whose ciphertext reaches it
colluding       the sums less what the colluding hospitals sent, and their patients
informed        the release, knowing all patients but one
public          the final model
buyer           what the final model answers to the records it sends, and no more
==============  =====================================================================

[1] Bonawitz et al. (2017), *Practical Secure Aggregation*, section 2: what a server may see.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from aggregation.agreement import Agreement, Trajectory
from aggregation.capture.run_log import RunLog
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.transcript import AGGREGATOR, Message, Transcript
from attacks.views.adversary import Adversary, Knowledge, Name, Place
from attacks.views.observation import (
    AnswersView,
    ColludingView,
    Envelope,
    Gradient,
    GradientView,
    InformedView,
    Observation,
    PublicView,
    SumPart,
    TrafficView,
)
from attacks.views.opened_bytes import plain_reader, read_opened
from privacy.errors import CorruptMessageError, InvalidInputError, RefusedError

__all__ = ["observe"]

Errors = Mapping[int, NDArray[np.float64]]  # of updates, by the message's sequence
_EXACT: Errors = {}


def observe(run: Transcript | RunLog, adversary: Adversary | Name) -> Observation:
    """Return what an adversary sees of a run.

    Guarantees (each is a test in ``tests/attacks/views/test_observing.py``):
      - only messages that the position meets are read, and nothing but messages and the declared
        knowledge;
      - a server of a sealed run gets no single hospital's update;
      - what colluders subtract is what they sent, exactly.

    Args:
      run: All messages of a run, the first of which is the plan; or a captured run, whose updates
        have errors.
      adversary: A position with its knowledge, or the bare name of one that needs none.

    Raises:
      CorruptMessageError: The first message is no plan, or a message is not what its kind says.
      RefusedError: The position does not see what defines it in this run (a plaintext view of
        sealed updates).
    """
    if isinstance(adversary, str):
        adversary = Adversary(adversary)
    transcript, errors = (
        (run, _EXACT) if isinstance(run, Transcript) else (run.messages, run.errors)
    )
    first = next(iter(transcript), None)
    if first is None or first.kind != "plan":
        begins = "nothing" if first is None else repr(first.kind.value)
        raise CorruptMessageError(
            f"A transcript begins with its plan; this one begins with {begins}. Use the folder of "
            "a whole run."
        )
    plan = Plan.from_bytes(first.payload)
    name, knowledge = adversary.name, adversary.knowledge
    if name == "eavesdropper":
        envelopes = tuple(
            Envelope(m.sender, m.receiver, m.round, m.size, m.time) for m in transcript
        )
        return TrafficView(plan, name, knowledge, envelopes)
    if name == "public":
        params = _final_model(plan, transcript)
        return PublicView(plan, name, knowledge, _answers(plan, params), None, params)
    if name == "buyer":
        answers = _answers(plan, _final_model(plan, transcript))
        return AnswersView(plan, name, knowledge, answers, knowledge.digits)
    gradients = _gradients(plan, transcript, adversary, errors)
    if not isinstance(run, Transcript):
        gradients = tuple(replace(g, optimizer=run.optimizer) for g in gradients)
    colluders = tuple(sorted({hospital for _, hospital in knowledge.updates}))
    if name in ("colluding", "informed") and colluders:
        gradients = tuple(_without(g, colluders, knowledge, plan) for g in gradients)
    if name == "colluding":
        return ColludingView(plan, name, knowledge, gradients, colluders)
    if name == "informed":
        return InformedView(plan, name, knowledge, gradients)
    return GradientView(plan, name, knowledge, gradients)


def _gradients(
    plan: Plan, transcript: Transcript, adversary: Adversary, errors: Errors
) -> tuple[Gradient, ...]:
    knowledge = adversary.knowledge
    if adversary.name == "server_plain":
        if plan.scheme != "plain":
            raise RefusedError(
                f"This run sealed its updates with {plan.scheme!r}: its server reads none of them. "
                "Observe it as server_sealed."
            )
        return _single_updates(plan, transcript, knowledge, plain_reader(plan), errors)
    # In a simulation ``plain`` may stand in for sealing: a sealed server reads the sums alone.
    if plan.scheme == "plain" and adversary.name != "server_sealed":
        return _single_updates(plan, transcript, knowledge, plain_reader(plan), errors)
    sums = _opened_sums(plan, transcript, knowledge, errors)
    if adversary.name == "key_holder" and knowledge.open_update is not None:
        opened = knowledge.open_update
        return (*sums, *_single_updates(plan, transcript, knowledge, opened, errors))
    return sums


def _single_updates(
    plan: Plan,
    transcript: Transcript,
    knowledge: Knowledge,
    read: Callable[[bytes], NDArray[np.int64]],
    errors: Errors,
) -> tuple[Gradient, ...]:
    models = _models(transcript)
    return tuple(
        _gradient(plan, (m,), models, knowledge, read(m.payload), m.round, errors)
        for m in transcript.select(kind="update", receiver=AGGREGATOR)
    )


def _opened_sums(
    plan: Plan, transcript: Transcript, knowledge: Knowledge, errors: Errors
) -> tuple[Gradient, ...]:
    models = _models(transcript)
    sums = []
    waiting: list[Message] = []  # a server opens all that it holds: what came since the last sum
    for m in transcript:
        if m.receiver == AGGREGATOR and m.kind == "update":
            waiting.append(m)
        elif waiting and m.kind == "opened" and AGGREGATOR in (m.sender, m.receiver):
            integers = read_opened(m.payload, plan)
            parts = tuple(waiting)
            sums.append(_gradient(plan, parts, models, knowledge, integers, m.round, errors))
            waiting = []
    return tuple(sums)


def _gradient(
    plan: Plan,
    parts: tuple[Message, ...],
    models: Mapping[Place, NDArray[np.float64]],
    knowledge: Knowledge,
    integers: NDArray[np.int64],
    round_: int,
    errors: Errors,
) -> Gradient:
    if integers.shape != (plan.model.dim,):
        raise CorruptMessageError(
            f"An update of round {round_} holds {integers.size} values; the plan's model has "
            f"{plan.model.dim}. Use the transcript and the plan of one run."
        )
    contributions = []
    for part in parts:
        version = part.public.get("base_version", part.round)
        place = (int(version) if isinstance(version, int) else part.round, part.sender)
        if place not in models:
            raise CorruptMessageError(
                f"The transcript shows no model of version {place[0]} sent to {part.sender}, "
                "though it answered it. Use the transcript of a whole run."
            )
        labels = knowledge.labels.get((part.round, part.sender))
        weight = part.public.get("weight", 1.0)
        multiplier = float(weight) if isinstance(weight, int | float) else 1.0
        contributions.append(SumPart(part.sender, models[place], labels, multiplier))
    if not contributions:
        raise CorruptMessageError(f"The opened sum of round {round_} has no update before it.")
    noise = _noise_std(plan, integers, len(parts))
    if plan.correlated is not None and not 0 <= round_ < plan.rounds:
        raise CorruptMessageError(
            f"An update of round {round_} in a run of {plan.rounds} rounds. Use the transcript and "
            "the plan of one run."
        )
    if plan.correlated is not None:  # what is sent is what was drawn, less of what was sent before
        noise *= float(np.linalg.norm(plan.correlated.inverse(plan.rounds)[round_]))
    wrong = [errors[part.sequence] for part in parts if part.sequence in errors]
    error = np.asarray(np.sum(wrong, axis=0)) if wrong else None
    return Gradient(round_, tuple(contributions), integers, noise, error)


def _noise_std(plan: Plan, integers: NDArray[np.int64], contributors: int) -> float:
    """Noise on each coordinate of a sum, in integer steps.

    The article's scale follows the norm of the upload itself: with std = c |g| and d coordinates,
    the seen norm is near sqrt(1 + c^2 d) |g|, which gives the scale away.
    """
    if plan.noise == NoiseKind.ARTICLE:
        c = float(np.sqrt(2 * np.log(1.25 / plan.delta)) / plan.epsilon)
        norm = float(np.linalg.norm(integers.astype(np.float64)))
        return c * norm / float(np.sqrt(1 + c**2 * plan.model.dim))
    return plan.share_std * float(np.sqrt(contributors * plan.local_steps))


def _without(
    gradient: Gradient, colluders: tuple[str, ...], knowledge: Knowledge, plan: Plan
) -> Gradient:
    honest = tuple(c for c in gradient.contributions if c.hospital not in colluders)
    integers = gradient.integers.copy()
    for hospital in gradient.hospitals:
        if hospital in colluders:
            sent = knowledge.updates.get((gradient.round, hospital))
            if sent is None:
                raise InvalidInputError(
                    f"Knowledge.updates lacks what {hospital} sent in round {gradient.round}; a "
                    "colluder knows all of its own updates."
                )
            integers -= sent
    if not honest:
        raise RefusedError(
            f"Every contributor of round {gradient.round} colludes: no patient is left to attack."
        )
    share = gradient.noise_std / float(np.sqrt(len(gradient.contributions)))
    noise = share * float(np.sqrt(len(honest)))
    if plan.noise == NoiseKind.ARTICLE:
        noise = _noise_std(plan, integers, len(honest))
    return Gradient(gradient.round, honest, integers, noise, gradient.error)


def _models(transcript: Transcript) -> dict[Place, NDArray[np.float64]]:
    return {
        (m.round, m.receiver): np.frombuffer(m.payload, dtype="<f8").astype(np.float64)
        for m in transcript.select(kind="model")
    }


def _final_model(plan: Plan, transcript: Transcript) -> NDArray[np.float64]:
    """Recompute what the run hands out from the models sent and the last opened sum."""
    by_round = {
        m.round: np.frombuffer(m.payload, dtype="<f8").astype(np.float64)
        for m in transcript.select(kind="model", sender=AGGREGATOR)
    }
    if not by_round:
        raise CorruptMessageError("The transcript holds no model. Use the folder of a whole run.")
    models = [by_round[round_] for round_ in sorted(by_round)]
    last = transcript.select(kind="opened", round_=max(by_round))[:1]
    if plan.rule is None:
        models += [plan.advance(models[-1], read_opened(m.payload, plan)) for m in last]
    elif last:
        models.append(_followed(plan, transcript))
    return plan.final_model(models)


def _answers(
    plan: Plan, params: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What whoever serves the model offers: a probability for a record, the parameters kept."""
    return partial(_risks, plan, params)


def _risks(
    plan: Plan, params: NDArray[np.float64], features: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(expit(plan.model.scores(params, features)))


def _followed(plan: Plan, transcript: Transcript) -> NDArray[np.float64]:
    """The model after all opened sums, which a rule with a state can't take from the last alone."""
    payloads = {m.round: m.payload for m in transcript.select(kind="opened")}
    path = Trajectory(Agreement.of(plan))
    for round_ in range(len(payloads)):
        senders = {m.sender for m in transcript.select(kind="update", round_=round_)}
        if round_ not in payloads or senders != set(plan.hospitals):
            raise RefusedError(
                f"The rule {plan.used_rule.contract.name!r} was followed along a schedule, which "
                "no message tells: the final model can't be recomputed from this transcript. Take "
                "it from the run."
            )
        path.step(np.frombuffer(payloads[round_], dtype="<i8").astype(np.int64))
    return path.params
