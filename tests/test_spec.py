"""What an observation is made of: errors that name the value, and the way to JSON and back."""

import json
from typing import Any

import pytest
import torch

from dva.spec import ActionSpec, Entry, ObservationSpec

PIXELS = Entry("pixels", "image", (3, 4, 5), "uint8", 2, "sRGB", 0.0, 255.0)
BODIES = Entry("bodies", "image", (1, 4, 5), "int32", 1, "number", -1.0, 6.0)
ANGLES = Entry("angles", "vector", (7,), frame_stack=3, units="rad")
SPEC = ObservationSpec((ANGLES, PIXELS, BODIES))


def test_an_entry_knows_its_shapes_and_dtype():
    assert PIXELS.stacked_shape == (6, 4, 5) and PIXELS.channels == 3
    assert ANGLES.stacked_shape == (21,) and ANGLES.channels == 7
    assert [x.torch_dtype for x in SPEC.entries] == [torch.float32, torch.uint8, torch.int32]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "two words"}, "name of entry 'two words' is 'two words'; allowed: a word"),
        ({"name": ""}, "allowed: a word of letters"),
        ({"name": "a.b"}, "allowed: a word of letters"),
        ({"name": "values"}, "name of entry 'values' is 'values'; allowed: another word"),
        ({"name": "training"}, "allowed: another word"),
        ({"kind": "video"}, "kind of entry 'x' is 'video'; allowed: \"image\" or \"vector\""),
        ({"shape": (3, 4)}, r"shape of entry 'x' is \(3, 4\); .*\(channels, height, width\)"),
        ({"shape": (3, 0, 4)}, "each at least 1"),
        ({"kind": "vector"}, r"shape of entry 'x' is \(3, 4, 4\); .*\(length,\)"),
        ({"dtype": "float16"}, "dtype of entry 'x' is 'float16'; allowed: uint8, int32, float32"),
        ({"frame_stack": 0}, "frame_stack of entry 'x' is 0; allowed: 1 or more"),
        ({"low": 2.0, "high": 2.0}, "high of entry 'x' is 2.0; allowed: more than low.* 2.0"),
        ({"high": float("nan")}, "high of entry 'x' is nan"),
    ],
)
def test_a_wrong_entry_is_named(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        Entry(**{"name": "x", "kind": "image", "shape": (3, 4, 4), **changes})
    assert "\n" not in str(caught.value)


def test_a_spec_is_an_ordered_mapping():
    assert list(SPEC) == ["angles", "pixels", "bodies"] and len(SPEC) == 3
    assert SPEC["pixels"] is PIXELS and "touch" not in SPEC
    with pytest.raises(KeyError):
        SPEC["touch"]
    assert SPEC.images == (PIXELS, BODIES) and SPEC.vectors == (ANGLES,)


def test_two_entries_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Two entries are named 'angles'"):
        ObservationSpec((ANGLES, PIXELS, ANGLES))


def test_a_selection_names_an_entry_once():
    with pytest.raises(ValueError, match="'bodies' is named twice"):
        SPEC.select(("bodies", "angles", "bodies"))


def test_selection_keeps_the_order_and_names_what_is_missing():
    assert SPEC.select(("bodies", "angles")).entries == (ANGLES, BODIES)
    with pytest.raises(ValueError, match="no observation 'pixel'. Did you mean 'pixels'"):
        SPEC.select(("pixel",))
    with pytest.raises(ValueError, match="This environment has: angles, pixels, bodies"):
        SPEC.select(("pixels", "touch"))


def observation(n: int = 2) -> dict[str, torch.Tensor]:
    return {x.name: torch.zeros(n, *x.stacked_shape, dtype=x.torch_dtype) for x in SPEC.entries}


@pytest.mark.parametrize("n", [1, 5])
def test_an_observation_that_fits_passes(n: int):
    SPEC.check(observation(n))
    SPEC.check({**observation(n), "more": torch.zeros(1)})
    SPEC.check({**observation(n), "pixels": torch.zeros(n, 6, 4, 5)})  # float32, for gradients


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pixels", None, "has no 'pixels', which the policy reads; it has angles, bodies"),
        ("pixels", torch.zeros(2, 3, 4, 5), r"'pixels' is torch.float32 \(3, 4, 5\)"),
        ("pixels", torch.zeros(2, 6, 5, 4), r"the policy reads torch.uint8 \(6, 4, 5\)"),
        ("angles", torch.zeros(2, 7), r"'angles' is torch.float32 \(7,\)"),
        ("angles", torch.zeros(2, 21).double(), "'angles' is torch.float64"),
        ("bodies", torch.zeros(2, 1, 4, 5).byte(), "'bodies' is torch.uint8"),
    ],
)
def test_an_observation_that_does_not_fit_is_named_with_the_fix(name, value, message):
    given = observation()
    del given[name]
    if value is not None:
        given[name] = value
    with pytest.raises(ValueError, match=message) as caught:
        SPEC.check(given)
    assert "dva.runs.make_env(run)" in str(caught.value) and "\n" not in str(caught.value)


def test_specs_survive_json():
    text = json.dumps([SPEC.to_dict(), ActionSpec(("hip", "knee"), 1 / 60).to_dict()])
    assert "Infinity" not in text
    observed, acted = json.loads(text)
    assert ObservationSpec.from_dict(observed) == SPEC
    assert ActionSpec.from_dict(acted) == ActionSpec(("hip", "knee"), 1 / 60)
    assert ActionSpec.from_dict(acted).size == 2


@pytest.mark.parametrize(
    "change", [{"kind": "video"}, {"colour": 3}, {"shape": [3]}, {"frame_stack": 0}]
)
def test_what_is_no_spec_is_refused(change: dict[str, Any]):
    values = ObservationSpec((PIXELS,)).to_dict()
    with pytest.raises((ValueError, TypeError)):
        ObservationSpec.from_dict([{**values[0], **change}])
