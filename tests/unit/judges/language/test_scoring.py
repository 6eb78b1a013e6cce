"""Scores from log-probabilities, with tokenizers that write numbers whole and with ones that write their digits."""

import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idem_ray.judges.language.scoring import WORDS, allowed_words, integer_masses, parsed, score
from idem_ray.records import TokenPlace

END = "<end>"


def place(token: str, **shares: float) -> TokenPlace:
    return place_of(token, {name.lstrip("_"): share for name, share in shares.items()})


def place_of(token: str, shares: dict[str, float]) -> TokenPlace:
    return TokenPlace(token, {name: math.log(share) for name, share in shares.items() if share > 0})


def whole(shares: dict[int, float]) -> list[TokenPlace]:
    """What a server with whole-number tokens shows of this distribution."""
    return [place_of(str(max(shares, key=lambda n: shares[n])), {str(n): share for n, share in shares.items()})]


def by_digit(shares: dict[int, float]) -> list[TokenPlace]:
    """What a server that writes digits shows of it: the greedy path, with the true shares at each place."""
    places: list[TokenPlace] = []
    prefix = ""
    while not places or places[-1].token != END:
        here: dict[str, float] = defaultdict(float)
        for number, share in shares.items():
            text = str(number)
            if text.startswith(prefix):
                here[text[len(prefix)] if len(text) > len(prefix) else END] += share
        total = math.fsum(here.values())
        token = max(here, key=lambda name: here[name])
        places.append(place_of(token, {name: share / total for name, share in here.items()}))
        prefix += token
    return places


def mean(shares: dict[int, float]) -> float:
    return math.fsum(n * share for n, share in shares.items()) / math.fsum(shares.values())


@st.composite
def distributions(draw: st.DrawFn, low: int = 0, high: int = 100) -> dict[int, float]:
    numbers = draw(st.lists(st.integers(low, high), min_size=1, max_size=12, unique=True))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(numbers), max_size=len(numbers)))
    return {n: weight / math.fsum(weights) for n, weight in zip(numbers, weights, strict=True)}


@given(distributions(), st.floats(0.5, 1))
def test_whole_number_tokens_give_the_weighted_mean(shares: dict[int, float], mass: float) -> None:
    spread = {"50": 1e-12, "Sure": 1 - mass}  # with single digits alone it would look like a tokenizer of digits
    for n, share in shares.items():
        spread[str(n)] = spread.get(str(n), 0) + share * mass
    places = [place_of(max(spread, key=lambda token: spread[token]), spread)]
    found = score(places, min_mass=0.49)
    assert found.score == pytest.approx(mean(shares), abs=1e-6)


@given(distributions(), st.floats(0.0, 0.49))
def test_too_little_mass_is_missing_and_no_zero(shares: dict[int, float], mass: float) -> None:
    scaled = {str(n): share * mass for n, share in shares.items()}
    found = score([place_of("Sure", {**scaled, "Sure": 1 - mass})])
    assert found.score is None and found.missing and "of the probability" in found.missing


@given(distributions(), st.sampled_from([" {}", "{} ", "\n{}", "\t{}\n"]))
def test_space_around_a_number_does_not_count(shares: dict[int, float], shape: str) -> None:
    spread: dict[str, float] = {"50": 1e-12}
    for n, share in shares.items():
        spread[str(n)] = spread.get(str(n), 0) + share / 2
        spread[shape.format(n)] = share / 2
    assert score([place_of(max(spread, key=lambda t: spread[t]), spread)]).score == pytest.approx(
        mean(shares), abs=1e-6
    )


@given(distributions(low=1), st.integers(1, 9))
def test_digits_on_the_path_are_exact(shares: dict[int, float], first: int) -> None:
    """All numbers begin with the same digit, so the whole distribution lies along the path (10 and 100 apart, which
    are told apart only where the path leads to them)."""
    known = {n: share for n, share in shares.items() if str(n)[0] == str(first) and n != 100}
    known = known or {first * 10 + 5: 1.0}
    assert score(by_digit(known)).score == pytest.approx(mean(known), abs=1e-6)


@pytest.mark.parametrize("number", range(101))
def test_a_certain_number_is_itself_however_it_is_split(number: int) -> None:
    assert score(whole({number: 1.0})).score == number
    assert score(by_digit({number: 1.0})).score == number


@given(st.lists(st.floats(0.05, 1), min_size=8, max_size=8), st.lists(st.floats(0.05, 1), min_size=10, max_size=10))
def test_borrowed_digits_are_exact_where_all_tens_agree_on_them(tens: list[float], units: list[float]) -> None:
    shares = {10 * (t + 2) + u: tens[t] * units[u] for t in range(8) for u in range(10)}
    total = math.fsum(shares.values())
    shares = {n: share / total for n, share in shares.items()}
    assert score(by_digit(shares)).score == pytest.approx(mean(shares), abs=1e-6)


@given(distributions(low=20, high=99))
def test_digits_beside_the_path_are_wrong_by_less_than_nine(shares: dict[int, float]) -> None:
    places = by_digit(shares)
    beside = 1 - places[0].shares[places[0].token]
    found = score(places).score
    assert found is not None
    assert abs(found - mean(shares)) <= 9 * beside + 1e-6


@given(distributions())
def test_masses_are_probabilities_and_scores_stay_on_the_scale(shares: dict[int, float]) -> None:
    for places in (whole(shares), by_digit(shares)):
        masses = integer_masses(places)
        assert set(masses) <= set(range(101))
        assert math.fsum(masses.values()) <= 1 + 1e-9
        found = score(places, min_mass=0).score
        assert found is not None and 0 <= found <= 100


def test_a_hundred_in_three_tokens_or_two() -> None:
    assert score([place("1", _1=0.9, _9=0.1), place("0", _0=1.0), place("0", _0=0.8, end=0.2)]).score == pytest.approx(
        0.9 * (0.8 * 100 + 0.2 * 10) + 0.1 * 90
    )
    assert score([place("10", _10=1.0), place("0", _0=1.0), place(".", **{".": 1.0})]).score == 100


def test_one_beside_ninety_five_is_a_hundred() -> None:
    found = score([place("9", _9=0.7, _1=0.3), place("5", _5=1.0), place(END, **{END: 1.0})])
    assert found.score == pytest.approx(0.7 * 95 + 0.3 * 100)


def test_one_beside_five_is_a_small_number() -> None:
    found = score([place("2", _2=0.7, _1=0.3), place("5", _5=1.0), place(END, **{END: 1.0})])
    assert found.score == pytest.approx(0.7 * 25 + 0.3 * 15)


def test_beside_zero_stand_tens() -> None:
    found = score([place("0", _0=0.8, _1=0.1, _2=0.1), place(END, **{END: 1.0})])
    assert found.score == pytest.approx(0.1 * 10 + 0.1 * 20)


def test_spaces_before_the_number_are_gone_past() -> None:
    places = [place_of(" ", {" ": 0.9, "40": 0.1}), place_of("80", {"80": 0.5, "60": 0.5})]
    assert score(places).score == pytest.approx(0.1 * 40 + 0.9 * 70)


@pytest.mark.parametrize("tokens", [["0", ".", "8"], ["85", "0"], ["8", "5", "0"], ["0", "5"], ["-", "5"], ["1000"]])
def test_what_is_no_integer_on_the_scale_is_missing(tokens: list[str]) -> None:
    assert score([place_of(token, {token: 1.0}) for token in tokens]).score is None


def test_a_full_stop_or_a_slash_ends_a_number() -> None:
    for tokens in (["85", "."], ["8", "5", "."], ["85", "/", "100"], ["85", " ", "100"], ["8", "5"]):
        assert score([place_of(token, {token: 1.0}) for token in tokens]).score == 85


def test_words_are_verdicts_and_missing() -> None:
    refusal = [place("REF", REF=0.8, _50=0.1, _0=0.1), place("US", US=1.0), place("AL", AL=1.0)]
    assert score(refusal, ["REFUSAL"]).missing == WORDS["REFUSAL"]
    assert score(refusal).missing != WORDS["REFUSAL"]
    spelt = [place(letter, **{letter: 1.0}) for letter in "CODE"]
    assert score(spelt, ["CODE"]).missing == WORDS["CODE"]
    # A word that is less likely than the numbers takes nothing from them.
    assert score([place("REF", REF=0.4, _60=0.3, _40=0.3), place("USAL", USAL=1.0)], ["REFUSAL"]).score == 50
    assert score([place("C", C=0.9, _50=0.1), place("at", at=1.0)], ["CODE"]).missing != WORDS["CODE"]


def test_the_words_are_those_of_the_rubric() -> None:
    assert allowed_words("reply with the single word REFUSAL instead") == ("REFUSAL",)
    assert allowed_words("reply with CODE") == ("CODE",)
    assert allowed_words("encoded") == ()


@pytest.mark.parametrize(
    ("reply", "value"),
    [("85", 85), (" 85\n", 85), ("**85**", 85), ("85/100", 85), ("Score: 7.", 7), ("100", 100), ("0", 0)]
    + [(reply, None) for reply in ("", "high", "0.85", "-5", "850", "085", "between 40 and 60", "101")],
)
def test_parsed_replies(reply: str, value: float | None) -> None:
    found = parsed(reply)
    assert found.score == value
    assert (found.missing is None) == (value is not None)


def test_parsed_words() -> None:
    assert parsed("Refusal.", ["REFUSAL"]).missing == WORDS["REFUSAL"]
    assert parsed("CODE", ["REFUSAL"]).missing != WORDS["CODE"]


def test_an_empty_reply_is_missing() -> None:
    assert score([]).missing == "the reply was empty"


def test_log_probabilities_that_are_no_numbers_are_no_score() -> None:
    found = score([TokenPlace("85", {"85": math.nan, "20": -1.0})])
    assert found.score is None and "no numbers" in str(found.missing)
