"""A parser's complaint is one sentence that names what was meant."""

import pytest

from vjepa.__main__ import main
from vjepa.command.suggestions import did_you_mean, explain, nearest

KEYS = [
    "trainer.max_steps",
    "trainer.max_epochs",
    "model.optim.lr.peak",
    "data.batch_size",
    "data.train.manifest",
]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("trainer.max_step", "trainer.max_steps"),
        ("max_steps", "trainer.max_steps"),
        ("batch-size", "data.batch_size"),
        ("model.optm.lr.peak", "model.optim.lr.peak"),
        ("trianer.max_epoch", "trainer.max_epochs"),
    ],
)
def test_the_nearest_key(word, meant):
    assert nearest(word, KEYS) == meant


def test_nothing_is_suggested_for_a_word_unlike_all():
    assert did_you_mean("zebra", KEYS) == ""


@pytest.mark.parametrize("key", KEYS)
def test_a_known_key_is_its_own_nearest(key):
    assert nearest(key, KEYS) == key


def test_a_message_that_nobody_foresaw_is_one_line():
    assert explain("something\n  went wrong\n", KEYS) == "something went wrong"


def test_choices_of_a_union_and_of_a_plain_type():
    plain = "Parser key \"pool\":\n  Expected a typing.Literal['mean', 'none']. Got value: men"
    union = (
        'Parser key "pool":\n  Does not validate against any of the Union subtypes\n'
        "    - Expected a typing.Literal['mean', 'none']\n    - Expected a <class 'NoneType'>\n"
        "  Given value type: <class 'str'>\n  Given value: men"
    )
    sentence = "--pool men: give one of mean, none; did you mean mean?"
    assert [explain(message, []) for message in (plain, union)] == [sentence, sentence]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["look", ""], "a word is empty"),
        (["predict", "a.mp4", "--out="], "--out is empty"),
        (["predict", "a.mp4", "--probe", ""], "--probe is empty"),
        (["look", "bad\udcff.mp4"], "is not UTF-8; rename it"),
        (["fit", "pretrain", "--scale", ""], "--scale needs a value"),
    ],
)
def test_empty_and_unreadable_words_are_refused(words, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
