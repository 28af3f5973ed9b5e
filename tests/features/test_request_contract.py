"""Changes of a model's inputs and their effect on clients of the former model."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.features.request_contract import compare, request_order, with_earlier_contracts
from ml_pipeline.features.schema import Feature, FeatureError, FeatureSchema

AGE = Feature("age", "numeric", (), 18.0, 90.0)
TENURE = Feature("tenure", "numeric", (), 0.0, 60.0)
PLAN = Feature("plan", "categorical", ("free", "max", "pro"))
AGE_TOO = Feature("age_too", "numeric")
FORMER = FeatureSchema((PLAN, AGE, TENURE))


def of(*features, **about):
    return FeatureSchema(features, **about)


class TestCompare:
    @pytest.mark.parametrize(
        ("new", "change", "message"),
        [
            (FORMER, "compatible", "compatible"),
            (of(PLAN, replace(AGE, minimum=0.0, maximum=200.0), TENURE), "compatible", ""),
            (of(PLAN, TENURE, AGE), "breaking", "value 2 of a request by position was 'age'"),
            (of(PLAN, AGE), "breaking", "feature 'tenure' is gone"),
            (of(PLAN, TENURE), "breaking", "feature 'age' is gone"),
            (of(PLAN, AGE, TENURE, Feature("x", "numeric")), "breaking", "'x' is new and required"),
            (of(PLAN, AGE, TENURE, Feature("x", "numeric", optional=True)), "extended", "'x' is"),
            (
                of(PLAN, AGE, Feature("x", "numeric", optional=True), TENURE),
                "breaking",
                "value 3 of a request by position was 'tenure' and is 'x'",
            ),
            (of(PLAN, Feature("ages", "numeric"), TENURE), "breaking", "'ages' is new and requ"),
            (of(PLAN, Feature("years", "numeric"), TENURE), "breaking", "required: renamed?"),
            (
                of(PLAN, Feature("age", "categorical", ("old",)), TENURE),
                "breaking",
                "feature 'age' takes text, took numbers",
            ),
            (
                of(Feature("plan", "numeric"), AGE, TENURE),
                "breaking",
                "feature 'plan' takes numbers, took text",
            ),
            (
                of(replace(PLAN, categories=("free", "max", "new", "pro")), AGE, TENURE),
                "extended",
                "feature 'plan' knows 'new', too",
            ),
            (
                of(replace(PLAN, categories=("free", "pro")), AGE, TENURE),
                "breaking",
                "feature 'plan' does not know 'max' any more: it counts as missing",
            ),
            (
                of(replace(PLAN, categories=("Free", "Max", "Pro")), AGE, TENURE),
                "breaking",
                "does not know 'free', 'max', 'pro' any more",
            ),
            (of(replace(PLAN, categories=()), AGE, TENURE), "breaking", "does not know 'free'"),
            (of(PLAN, replace(AGE, optional=True), TENURE), "extended", "'age' is optional now"),
            (of(PLAN, AGE, TENURE, unseen="refuse"), "breaking", "never saw are refused"),
        ],
    )
    def test_every_change_is_classified_and_named(self, new, change, message):
        result = compare(FORMER, new)
        assert result.change == change
        assert message in str(result)
        assert str(result).startswith(change)
        same = new.contract == FORMER.contract
        assert same == (change == "compatible")

    @pytest.mark.parametrize(
        ("new", "message"),
        [
            (of(PLAN, TENURE, AGE), "value 2 of a request by position was 'age' and is 'tenure'; "),
            (of(PLAN, TENURE, Feature("x", "numeric", optional=True)), "was 'age' and is 'tenure'"),
            (of(PLAN, Feature("x", "numeric"), TENURE), "was 'age' and is 'x'"),
        ],
    )
    def test_a_misread_positional_request_is_named(self, new, message):
        assert message in str(compare(FORMER, new))
        assert "such a request is answered all the same, wrongly" in str(compare(FORMER, new))

    @pytest.mark.parametrize(
        "new", [of(PLAN, TENURE), of(AGE, PLAN, TENURE), of(PLAN, AGE, TENURE, AGE_TOO)]
    )
    def test_a_refused_request_is_not_reported_as_misread(self, new):
        assert "wrongly" not in str(compare(FORMER, new))

    def test_withdrawing_an_extension_is_breaking(self):
        optional = of(PLAN, replace(AGE, optional=True), TENURE)
        assert "feature 'age' is required, was optional" in str(compare(optional, FORMER))
        assert compare(optional, FORMER).change == "breaking"
        refusing = replace(FORMER, unseen="refuse")
        assert compare(refusing, FORMER).change == "extended"
        fewer = of(replace(PLAN, categories=("free",)), AGE, TENURE, unseen="refuse")
        assert "it is refused" in str(compare(refusing, fewer))

    def test_handling_of_unseen_categories_is_ignored_without_categorical_features(self):
        numbers = of(AGE, TENURE)
        assert replace(numbers, unseen="refuse").contract == numbers.contract
        assert compare(numbers, replace(numbers, unseen="refuse")).change == "compatible"

    def test_several_changes_are_listed_the_breaking_ones_first(self):
        new = of(replace(PLAN, categories=("a", "free", "max", "pro")), TENURE)
        assert str(compare(FORMER, new)) == (
            "breaking: feature 'age' is gone; feature 'plan' knows 'a', too"
        )

    def test_of_many_categories_a_few_are_shown(self):
        many = replace(PLAN, categories=tuple(f"c{number:03}" for number in range(100)))
        result = str(compare(of(many), of(replace(many, categories=()))))
        assert "'c004' and 95 more" in result
        assert len(result) < 200


names = st.sampled_from("abcdefg")


@st.composite
def schemas(draw):
    features = []
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        optional = draw(st.booleans())
        if draw(st.booleans()):
            features.append(Feature(name, "numeric", (), 0.0, 1.0, optional))
        else:
            kinds = tuple(sorted(draw(st.sets(st.sampled_from("xyz")))))
            features.append(Feature(name, "categorical", kinds, optional=optional))
    return FeatureSchema(tuple(features), draw(st.sampled_from(["missing", "refuse"])))


@st.composite
def rows(draw, schema):
    """A row by position that the schema takes, as short as it may be."""
    length = draw(st.integers(schema.required, len(schema.features)))
    return [
        draw(st.none() | st.floats(0, 1))
        if feature.kind == "numeric"
        else draw(st.none() | st.sampled_from([*feature.categories, "x"]))
        for feature in schema.features[:length]
    ]


@given(st.data())
def test_a_compatible_contract_encodes_every_former_row_equally(data):
    former, new = data.draw(schemas()), data.draw(schemas())
    row = data.draw(rows(former))
    if compare(former, new).change == "breaking":
        return
    try:
        before = former.encode_rows([row])[0]
    except FeatureError:
        return  # refused before: the unseen category of a model that refuses them
    read = dict(zip(former.encoded_names, before.tolist(), strict=True))
    now = dict(zip(new.encoded_names, new.encode_rows([row])[0].tolist(), strict=True))
    assert {name: str(value) for name, value in read.items()} == {
        name: str(now[name]) for name in read
    }


@given(schemas())
def test_a_schema_survives_json_and_keeps_its_contract(schema):
    assert FeatureSchema.from_json(schema.to_json()) == schema
    assert compare(schema, schema).change == "compatible"
    wider = replace(
        schema,
        features=tuple(
            replace(one, minimum=-9.0, maximum=9.0) if one.kind == "numeric" else one
            for one in schema.features
        ),
    )
    assert wider.contract == schema.contract


class TestRequestOrder:
    def test_without_a_champion_the_optional_ones_are_last(self):
        assert request_order(["a", "b", "c"], ["a"], None) == ["b", "c", "a"]

    def test_the_champions_order_is_kept(self):
        assert request_order(["age", "plan", "tenure"], (), FORMER) == ["plan", "age", "tenure"]

    def test_new_features_follow_and_optional_ones_are_last(self):
        order = request_order(["a", "age", "b", "plan", "tenure"], ["a", "age"], FORMER)
        assert order == ["plan", "age", "tenure", "b", "a"]

    def test_removed_features_are_left_out(self):
        assert request_order(["tenure", "plan"], (), FORMER) == ["plan", "tenure"]


class TestEarlierContracts:
    WIDER = of(PLAN, AGE, TENURE, Feature("x", "numeric", optional=True))

    def test_an_extended_contract_accepts_those_before_it(self):
        one = with_earlier_contracts(self.WIDER, FORMER)
        assert one.accepts == (FORMER.contract,)
        widest = of(*self.WIDER.features, Feature("y", "numeric", optional=True))
        two = with_earlier_contracts(widest, one)
        assert two.accepts == (one.contract, FORMER.contract)

    def test_the_same_contract_keeps_what_was_accepted(self):
        one = with_earlier_contracts(self.WIDER, FORMER)
        assert with_earlier_contracts(self.WIDER, one) == one

    def test_a_breaking_contract_accepts_no_earlier_one(self):
        one = with_earlier_contracts(self.WIDER, FORMER)
        assert with_earlier_contracts(of(PLAN, AGE), one).accepts == ()

    @pytest.mark.parametrize(
        ("new", "needs"),
        [
            (of(PLAN, TENURE, AGE), True),
            (of(PLAN, Feature("years", "numeric"), TENURE), True),
            (of(PLAN, TENURE, Feature("x", "numeric", optional=True)), True),
            (of(PLAN, AGE), False),
            (of(PLAN, AGE, TENURE, AGE_TOO), False),
            (of(AGE, PLAN, TENURE), False),
            (WIDER, False),
        ],
    )
    def test_positional_requests_need_the_digest_if_they_would_be_misread(self, new, needs):
        made = with_earlier_contracts(new, FORMER)
        assert made.needs_contract == needs
        assert with_earlier_contracts(made, made).needs_contract == needs
        assert "wrongly" not in str(compare(FORMER, made))
        assert ("has to give the digest" in str(compare(FORMER, made))) == needs
        assert FeatureSchema.from_json(made.to_json()) == made

    def test_without_a_champion_no_earlier_contract_is_accepted(self):
        assert with_earlier_contracts(FORMER, None) == FORMER
