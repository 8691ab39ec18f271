"""What hospitals say about each other's schedules: who declares less than the plan is contradicted.

Every hospital derives from the public plan not only its own schedule but also those of others, and
names their digests in its ledger when it joins. No noise can be seen from outside; that a hospital
accounts for the noise which the plan asks of it can.
"""

from collections.abc import Mapping

from privacy.ledger.audit.findings import Finding
from privacy.ledger.audit.reading import Reading

__all__ = ["compare_plans"]


def compare_plans(run: str, readings: Mapping[str, Reading]) -> list[Finding]:
    """Hold the hospitals' words on one run against each other.

    A hospital fails where more of the others contradict it than agree with it. Where as many do, or
    only one speaks, the run fails and nobody is blamed.
    """
    words = {name: r.plans[run] for name, r in readings.items() if r.plans.get(run)}
    findings = [
        Finding("FAIL", run, f"{name} declared different plans for one run", hospital=name)
        for name, declared in words.items()
        if any(word != declared[0] for word in declared)
    ]
    single = {
        name: declared[0]
        for name, declared in words.items()
        if all(w == declared[0] for w in declared)
    }
    for name, word in single.items():
        others = {other: said for other, said in single.items() if other != name}
        plans = {other: said.plan == word.plan for other, said in others.items()}
        findings += _judge(run, name, "what plan it follows", plans)
        about = {
            o: said.others[name] == word.own for o, said in others.items() if name in said.others
        }
        findings += _judge(run, name, "what the plan has it release", about)
        if others and not about:
            reason = f"no other hospital says what the plan has {name} release"
            findings.append(Finding("FAIL", run, reason))
    return findings


def _judge(run: str, name: str, what: str, agrees: Mapping[str, bool]) -> list[Finding]:
    against = sorted(other for other, same in agrees.items() if not same)
    if not against:
        return []
    reason = f"{name} and {', '.join(against)} say different things about {name}: {what}"
    if len(against) >= 2 and 2 * len(against) > len(agrees):
        return [Finding("FAIL", run, reason, hospital=name)]
    if 2 * len(against) >= len(agrees):
        return [Finding("FAIL", run, reason)]
    return [Finding("FAIL", run, reason, hospital=other) for other in against]
