"""Variants and wildcards: what is picked, what all makes, what is refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.prompts.wildcards import Variants

Write = Callable[[str, str], Path]
NONE = Variants(None)


@pytest.fixture
def variants(write: Write, tmp_path: Path) -> Variants:
    write("w/colors.txt", "# colours\nred\n\n  green  \nblue\nred\n")
    write("w/dir/shapes.txt", "star\nring\n")
    write("w/dir/sizes.txt", "large\nstar\n")
    write("w/nested.txt", "a __colors__ {star|ring}\nplain\n")
    write("w/fields.txt", "{seed} {{x}} {a|b}\n")
    write("w/more.yaml", "sky:\n  day: [blue sky, 3::white sky, {text: grey sky, weight: 0}]\n  night: dark\n")
    write("w/list.json", '["one", 2]')
    return Variants(tmp_path / "w")


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("a {red|blue} star", ["a red star", "a blue star"]),
        ("{a|b}{c|d}", ["ac", "ad", "bc", "bd"]),
        ("{a|{b|c}}", ["a", "b", "c"]),
        ("{a|{b|{c|d}}}", ["a", "b", "c", "d"]),
        ("{a|}b", ["ab", "b"]),
        ("{a|a|b}", ["a", "b"]),
        ("{a b}", ["a b"]),
        ("{0.5::a|2::b}", ["a", "b"]),
        ("{0::a|b}", ["b"]),
        ("{2$$a|b}", ["a,b", "b,a"]),
        ("{2$$ and $$a|b}", ["a and b", "b and a"]),
        ("{2$$、$$a|b}", ["a、b", "b、a"]),
        ("{2$$ | $$a|b}", ["a | b", "b | a"]),
        ("{2$$ % $$a|b}", ["a % b", "b % a"]),
        ("{2$$$$a|b}", ["ab", "ba"]),
        ("{1-2$$a|b}", ["a", "b", "a,b", "b,a"]),
        ("{-2$$a|b}", ["a", "b", "a,b", "b,a"]),
        ("{1-$$a|b}", ["a", "b", "a,b", "b,a"]),
        ("{0-1$$a|b}", ["", "a", "b"]),
        ("{2$$x{1|2}|y}", ["x1,y", "x2,y", "y,x1", "y,x2"]),
        ("{color} {a|b {size:04d}} {{x}} }}", ["{color} a {{x}} }}", "{color} b {size:04d} {{x}} }}"]),
        ("{a {{x}}|b}", ["a {{x}}", "b"]),
        ("50% #1 $5 // a/b {x|y} $$ \t", ["50% #1 $5 // a/b x $$ \t", "50% #1 $5 // a/b y $$ \t"]),
        ("{#1|a\tb}", ["#1", "a\tb"]),
        ("snake__case {a|b} ____ __ x __", ["snake__case a ____ __ x __", "snake__case b ____ __ x __"]),
        ("\U00100000\U00100001{a|b}", ["\U00100000\U00100001a", "\U00100000\U00100001b"]),
        ("({a|b}:1.2) \\(c\\) <lora:{d|e}:0.5>", [f"({x}:1.2) \\(c\\) <lora:{y}:0.5>" for x in "ab" for y in "de"]),
    ],
)
def test_variants(text: str, every: list[str]) -> None:
    assert NONE.all(text) == every
    assert {NONE.pick(text, seed) for seed in range(200)} == set(every)


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("a __colors__ hat", ["a red hat", "a green hat", "a blue hat"]),
        ("__dir/shapes__", ["star", "ring"]),
        ("__dir/*__", ["star", "ring", "large"]),
        ("__*shapes__", ["star", "ring"]),
        ("__ssky__|x".replace("ssky", "sky/day"), ["blue sky|x", "white sky|x"]),
        ("__sky/*__", ["blue sky", "white sky", "dark"]),
        ("__list__", ["one", "2"]),
        ("{2$$__colors__}", ["red,green", "red,blue", "green,red", "green,blue", "blue,red", "blue,green"]),
        ("{2-$$+$$__dir/shapes__}", ["star+ring", "ring+star"]),
        ("{__dir/shapes__|x}", ["star", "ring", "x"]),
        ("__dir/shapes____list__", ["starone", "star2", "ringone", "ring2"]),
        ("__nested__", [*(f"a {c} {s}" for c in ("red", "green", "blue") for s in ("star", "ring")), "plain"]),
    ],
)
def test_wildcards(variants: Variants, text: str, every: list[str]) -> None:
    assert variants.all(text) == every
    assert {variants.pick(text, seed) for seed in range(400)} == set(every)


def test_all_leaves_out_the_same_text_twice_in_one_choice() -> None:
    assert NONE.all("{2$$a|a|b}") == ["a,b", "b,a"]


def test_a_value_that_looks_like_a_field_is_none(variants: Variants) -> None:
    from sdbatch.spec import templates

    every = variants.all("{seed} __fields__")
    assert every == ["{seed} {{seed}} {{x}} a", "{seed} {{seed}} {{x}} b"]
    assert templates.compile(every[0]).fill({"seed": 7}) == "7 {seed} {x} a"


def test_weights(variants: Variants) -> None:
    found = Counter(variants.pick("{3::a|b}", seed) for seed in range(4000))
    assert 2850 < found["a"] < 3150
    found = Counter(variants.pick("__sky/day__", seed) for seed in range(4000))
    assert 2850 < found["white sky"] < 3150
    first = Counter(variants.pick("{2$$ $$1::a|2::b|1::c}", seed) for seed in range(4000))
    # b is first in half of them; after another, it is second in two thirds.
    assert 1850 < sum(count for text, count in first.items() if text[0] == "b") < 2150
    assert 0.62 < first["a b"] / (first["a b"] + first["a c"]) < 0.71


@given(st.integers(0, 2**32 - 1))
def test_draws_are_as_documented(seed: int) -> None:
    """Worked out again from docs/prompts.md."""
    text = "{1-3$$+$$a|2::b|c} {x|y}"
    number = int.from_bytes(blake2b(f"{seed}\n{text}".encode(), digest_size=8).digest(), "big")
    random = Random(number)
    left, picked = [("a", 1.0), ("b", 2.0), ("c", 1.0)], []
    for _ in range(1 + int(random.random() * 3)):
        draw = random.random() * sum(weight for _, weight in left)
        sums = itertools.accumulate(weight for _, weight in left)
        picked.append(left.pop(next(at for at, total in enumerate(sums) if draw < total))[0])
    assert NONE.pick(text, seed) == "+".join(picked) + " " + "xy"[int(random.random() * 2)]


def test_picks_follow_from_text_and_seed_alone(tmp_path: Path) -> None:
    text = "{a|b|c|d} {e|f|g|h}"
    picks = [NONE.pick(text, seed) for seed in range(50)]
    import random

    random.seed(1)
    assert [Variants(None).pick(text, seed) for seed in reversed(range(50))] == picks[::-1]
    script = f"from sdbatch.prompts.wildcards import Variants; print(Variants(None).pick({text!r}, 7))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == picks[7]
    assert picks[:6] == ["d h", "d e", "d f", "a h", "a h", "a h"], "kept for ever: pictures' ids follow from picks"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a __colours__", "there is no wildcard file colours.txt in {folder}; did you mean __colors__?"),
        ("a __shapes__", "did you mean __dir/shapes__?"),
        ("__zzz__", "there are: colors, dir/shapes"),
        ("__zzz/*__", "no wildcard matches in {folder}"),
        ("{a|__nothing__}", "no wildcard file nothing.txt"),
        ("__../colors__", "no wildcard file ../colors.txt"),
        ("__{a|b}__", "a wildcard's name has no braces in it"),
        ("__dir/{a|b}__", "a wildcard's name has no braces in it"),
        ("a {b", "a `{{` is not closed"),
        ("{a|b}}", "a `}}` closes nothing"),
        ("{{a|b}|c}", "a `}}` closes nothing"),
        ("{3$$a|b}", "3 options of 2 cannot be picked"),
        ("{4$$__colors__}", "4 options of 3 cannot be picked"),
        ("{2-1$$a|b}", "2 is more than 1"),
        ("{a|b$$c}", "`$$` follows the number"),
        ("{0::a|0::b}", "every option has the weight 0"),
        ("{~a|b}", "chooses a way of sampling"),
        ("${{x=!{{a|b}}}}".replace("{{", "{").replace("}}", "}"), "variables are not supported"),
        ("{" + "a|{" * 16 + "b|c" + "}" * 17, "nested more than 16 deep"),
        ("{2$$" + "|".join(map(str, range(400))) + "}", "makes more than 100,000 texts"),
        ("{a|b}" * 17, "makes more than 100,000 texts"),
        ("{12$$" + "|".join(map(str, range(12))) + "}", "makes more than 100,000 texts"),
    ],
)
def test_refused(variants: Variants, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        variants.all(text)
    assert said.replace("{folder}", str(tmp_path / "w")).replace("{{", "{").replace("}}", "}") in str(raised.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"__colors__: there is no folder of wildcards"):
        NONE.pick("a __colors__", 0)
    with pytest.raises(ValueError, match=r"none: no such folder"):
        Variants(tmp_path / "none").pick("a __colors__", 0)


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("x.txt", "\n# nothing\n", "has no values"),
        ("x.txt", "__y__", "no wildcard file y.txt"),
        ("x.txt", "a\n__x__", "name each other in a ring: x → x"),
        ("x.txt", "{a", "wildcard 'x': '{a': a `{` is not closed"),
        ("x.yaml", "x: [a", "x.yaml: while parsing"),
        ("x.yaml", "x: [[a]]", r"x.yaml: ['a'] is not a text, a number"),
        ("x.yaml", "x: [{text: a, weight: -1}]", "is not a text, a number"),
        ("x.yaml", "word", "neither a list nor a mapping"),
        ("x.json", "{", "x.json: "),
        ("x.json", "[" * 100_000, "x.json: "),
    ],
)
def test_broken_files(write: Write, tmp_path: Path, name: str, contents: str, said: str) -> None:
    write(f"w/{name}", contents)
    with pytest.raises(ValueError) as raised:
        Variants(tmp_path / "w").pick("__x__", 0)
    assert said in str(raised.value)


def test_files_that_cannot_be_told_apart_or_read(write: Write, tmp_path: Path) -> None:
    write("w/x.txt", "a")
    path = write("w/x.json", '["b"]')
    with pytest.raises(ValueError, match=r"'x' is in another file"):
        Variants(tmp_path / "w").pick("__x__", 0)
    path.unlink()
    (tmp_path / "w/x.txt").write_bytes(b"\xef\xbb\xbfa\nb\xff")
    with pytest.raises(ValueError, match=r"x.txt: not UTF-8"):
        Variants(tmp_path / "w").pick("__x__", 0)
    (tmp_path / "w/x.txt").write_bytes(b"\xef\xbb\xbfa\r\n")
    assert Variants(tmp_path / "w").pick("__x__", 0) == "a"
    (tmp_path / "w/loop").symlink_to(tmp_path / "w")
    assert Variants(tmp_path / "w").all("__*__") == ["a"]


def test_a_long_chain_of_wildcards(write: Write, tmp_path: Path) -> None:
    for at in range(40):
        write(f"w/n{at}.txt", f"__n{at + 1}__")
    write("w/n40.txt", "end")
    assert Variants(tmp_path / "w").pick("__n10__", 0) == "end"
    with pytest.raises(ValueError, match=r"more than 32 wildcards lead to one another"):
        Variants(tmp_path / "w").pick("__n0__", 0)


@given(st.text(st.sampled_from("{}|$_:~5-%#/ ab.\\\n\U00100000"), max_size=40), st.integers(0, 3))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str, seed: int) -> None:
    try:
        picked = NONE.pick(text, seed)
    except ValueError:
        return
    if "{" not in text and "__" not in text:
        assert picked == text


@given(st.text().filter(lambda text: not set(text) & set("{}|$") and "__" not in text))
@settings(deadline=None)
def test_text_around_variants_stays_as_it_is(text: str) -> None:
    assert NONE.all(f"{text}{{a|b}}{text}") == [f"{text}a{text}", f"{text}b{text}"]


def test_texts_without_variants_do_not_load_the_grammar() -> None:
    script = (
        "import sys; from sdbatch.prompts.wildcards import Variants\n"
        "assert Variants(None).pick('a {color} star', 0) == 'a {color} star'\n"
        "assert not {'dynamicprompts', 'pyparsing'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_starter_files(root: Path) -> None:
    starter = Variants(root / "prompts" / "wildcards")
    assert len(starter.all("__colors__")) == 7
    assert len(starter.all("__scene/figures__")) == 7 * 8 * 3
    assert starter.all("__scene/backgrounds__") == ["white background", "black background"]


def test_a_bomb_of_aliases_is_not_built(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x]"] + [
        f"{n}: &{n} {{p: *{m}, q: *{m}, r: *{m}}}" for m, n in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True)
    ]
    (tmp_path / "w.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="aliases"):
        Variants(tmp_path).pick("__a__", 0)
    (tmp_path / "w.yaml").unlink()
    (tmp_path / "w.txt").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="not a regular file"):
        Variants(tmp_path).pick("__w__", 0)
