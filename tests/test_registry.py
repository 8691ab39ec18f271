"""What is registered is met by its name, and no name ever means another thing."""

import pytest

from aggregation.models import MODELS
from aggregation.registry import Registry
from aggregation.rules import RULES
from aggregation.sealing import SCHEMES
from attacks.suite import ATTACKS, Arena, register
from experiments.cohorts import COHORTS
from privacy.errors import InvalidInputError


def test_what_is_added_is_found_and_told_apart_from_what_was_there() -> None:
    dishes = Registry("dish", {"soup": 1})
    dishes.add("bread", 2)
    assert dict(dishes) == {"soup": 1, "bread": 2}
    assert dishes.find("bread") == 2
    assert list(dishes.added) == ["bread"]
    dishes.mark_built_in()
    assert list(dishes.added) == []


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidInputError, match="Unknown dish 'cake'; choose one of soup"):
        Registry("dish", {"soup": 1}).find("cake")


def test_a_name_never_goes_to_another_thing() -> None:
    dishes = Registry("dish", {"soup": 1})
    dishes.add("soup", 1)
    with pytest.raises(InvalidInputError, match="The dish 'soup' is there already"):
        dishes.add("soup", 2)
    assert dishes["soup"] == 1


def test_a_class_defined_again_by_the_same_code_takes_its_name_again() -> None:
    kinds: Registry[type] = Registry("kind")
    code = "class Kind: pass"
    for _ in range(2):
        names: dict[str, type] = {"__name__": "guide"}  # type: ignore[dict-item]  # exec's own
        exec(code, names)
        kinds.add("kind", names["Kind"])
    assert kinds["kind"] is names["Kind"]
    with pytest.raises(InvalidInputError, match="already"):
        kinds.add("kind", Registry)


@pytest.mark.parametrize("name", ["", "../evil", "two\nlines", "x" * 65])
def test_a_name_that_can_not_stand_in_a_file_or_on_a_page_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="plain name"):
        Registry("dish", {"soup": 1}).add(name, 2)


def test_nothing_of_the_project_counts_as_added() -> None:
    for registry in (ATTACKS, COHORTS, MODELS, RULES, SCHEMES):
        assert len(registry) > 1
        assert set(registry.added) <= {"capped"}  # a guide's own, where its test ran before


def test_no_attack_takes_the_place_of_another() -> None:
    with pytest.raises(InvalidInputError, match="The attack 'tableak' is there already"):
        register("tableak", lambda effort: ATTACKS["spear"].make(effort), Arena.SINGLE)
