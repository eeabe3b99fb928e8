"""Plain sentences that answer each question, from templates; every number in them is quoted from the store.

A paragraph goes through four parts: the answer (`answers`, `sweep`), the evidence (`tuning`, `course`, `additivity`,
`mechanism`), the limits (`limits`), and the one next experiment worth running (`next_experiment`). Where learning rates
were looked for, a paragraph on them (`rates`) stands between evidence and limits. A `sentence`
carries the values that it quotes; `quotes` reads them, and docs/results-format.md lists their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paribus.commentary.additivity import additivity
from paribus.commentary.answers import answers
from paribus.commentary.course import cost, hardest_classes, other_metric, over_fitting, speed, updates
from paribus.commentary.limits import limits
from paribus.commentary.material import Material
from paribus.commentary.mechanism import mechanism
from paribus.commentary.next_experiment import next_experiment
from paribus.commentary.rates import rates
from paribus.commentary.sentence import Evidence, Part, Sentence
from paribus.commentary.sweep import at_the_edge, best_value, good_range
from paribus.commentary.tuning import contrasts, found_values

__all__ = ["Evidence", "Material", "Part", "Sentence", "comment"]

_LONGEST = 8
_LEAST_EVIDENCE = 2
Maker = Callable[[Material], list[Sentence]]


def comment(material: Material) -> list[Sentence]:
    """Return a question's paragraph: answer, evidence as far as there is room, rates, limits, the next experiment.

    Every part but the evidence is always whole; where eight sentences, short of those on rates, are not enough,
    evidence of the least weight for this kind of question is left out.
    """
    answer = [*best_value(material), *answers(material), *contrasts(material)]
    bounds = [*at_the_edge(material), *limits(material)]
    makers = (found_values, *_evidence_for(material))
    evidence = _without_repetition([sentence for make in makers for sentence in make(material)])
    room = max(_LEAST_EVIDENCE, _LONGEST - len(answer) - len(bounds) - 1)
    return _without_repetition([*answer, *evidence[:room], *rates(material), *bounds, next_experiment(material)])


def _evidence_for(material: Material) -> tuple[Maker, ...]:
    """What counts for a kind of question, most important first."""
    lead = material.lead
    if material.question.kind == "sweep":
        return (good_range, other_metric, mechanism)
    if lead is None:
        return ()
    factors = {factor for each in material.comparisons for factor in material.experiment.arms[each["arm"]].factors}
    return next((makers for known, makers in _EVIDENCE.items() if known & factors), _ANY_OTHER)


def _without_repetition(sentences: Sequence[Sentence]) -> list[Sentence]:
    return list({sentence.text: sentence for sentence in reversed(sentences)}.values())[::-1]


_ANY_OTHER: tuple[Maker, ...] = (additivity, other_metric, speed, mechanism, cost)
_EVIDENCE: dict[frozenset[str], tuple[Maker, ...]] = {
    frozenset({"model.name"}): (other_metric, hardest_classes, speed, mechanism, cost),
    frozenset({"train.batch_size"}): (updates, speed, other_metric, mechanism, cost),
    frozenset({"optim.name", "optim.momentum", "optim.nesterov"}): (speed, other_metric, mechanism, cost),
    frozenset({"train.epochs"}): (over_fitting, other_metric, mechanism, cost),
}
"""Kinds of questions by a factor that one of their arms changes; the first that applies counts."""
