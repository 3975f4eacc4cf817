"""Tags of fine-tunes in prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.prompts.loratags import Tag, extract


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("<lora:style>", Tag("lora", "style", 1.0)),
        ("<lora:style:0.8>", Tag("lora", "style", 0.8)),
        ("<lora:style:-.5>", Tag("lora", "style", -0.5)),
        ("<lora: my style : 2 >", Tag("lora", "my style", 2.0)),
        ("<lora:sub/style.v2:1.>", Tag("lora", "sub/style.v2", 1.0)),
        ("<lora:style:0.8:0.4>", Tag("lora", "style", 0.8, 0.4)),
        ("<lora:style:te=0.8:unet=0.4>", Tag("lora", "style", 0.8, 0.4)),
        ("<lora:style:unet=0.4>", Tag("lora", "style", 1.0, 0.4)),
        ("<lyco:style:0.8>", Tag("lora", "style", 0.8)),
        ("<hypernet:net>", Tag("hypernet", "net", 1.0)),
        ("<hypernet:net:0.7>", Tag("hypernet", "net", 0.7)),
    ],
)
def test_one_tag(text: str, tag: Tag) -> None:
    assert extract(text) == ("", (tag,))
    assert extract(f"a {text} star") == ("a  star", (tag,)), "only the tag itself goes"


def test_several_tags_in_order() -> None:
    text, tags = extract("<lora:a:0.5>a star<hypernet:b>, <lora:c:2> <3 <lorax:d> <b>")
    assert text == "a star,  <3 <lorax:d> <b>"
    assert [tag.name for tag in tags] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a <lora:style", "'<lora:style' is not closed"),
        ("<lora:a <lora:b:1>", "'<lora:a ' is not closed"),
        ("<lora:>", "'<lora:>' names no file"),
        ("<lora: :1>", "names no file"),
        ("<lora:a:strong>", "'<lora:a:strong>': 'strong' is not a number"),
        ("<lora:a:>", "'' is not a number"),
        ("<lora:a:nan>", "'nan' is not a number"),
        ("<lora:a:1e3>", "'1e3' is not a number"),
        ("<lora:a:1:2:3>", "has 3 numbers; at most 2"),
        ("<lora:a:te=1:te=2>", "gives a weight twice"),
        ("<lora:a:vae=1>", "'vae' is not one of te, unet"),
        ("<hypernet:a:1:2>", "has 2 numbers; at most 1"),
        ("<hypernet:a:unet=1>", "'unet' is not one of te"),
    ],
)
def test_malformed_tags(text: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        extract(text)
    assert said in str(raised.value)


@given(st.text())
def test_a_text_without_tags_stays_as_it_is(text: str) -> None:
    if not any(f"<{kind}:" in text for kind in ("lora", "lyco", "hypernet")):
        assert extract(text) == (text, ())
