"""Wrong experiment files of every kind: each is refused by one sentence, before anything is trained or written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paribus.cli import main
from paribus.errors import ConfigError
from paribus.experiment import Experiment

HEAD = '[experiment]\nname = "small"\nseeds = 3\nmargin = 0.01\n'
CONTROL = """
[control]
data = { name = "digits", size = 28 }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 3 }
"""
WHOLE = HEAD + CONTROL
QUESTION = '\n[[question]]\nid = "q"\nasks = "What?"\n'
ARM = 'arms.a = { "optim.lr" = 1 }\n'
KINDS_AT_LEAST = 50
LONG = "n" * 81


def with_(old: str, new: str, text: str = WHOLE) -> str:
    """The whole file with one thing wrong in it."""
    assert old in text
    return text.replace(old, new, 1)


def asking(lines: str) -> str:
    return WHOLE + QUESTION + lines


KINDS: dict[str, tuple[str, str]] = {
    "an empty file": ("", "An experiment must have a table `[experiment]`, but there is none. Add it."),
    "no control": (HEAD, "An experiment must have a table `[control]`, but there is none. Add it."),
    "YAML": ("experiment:\n  name: small\n", "must be valid TOML, but it is not: Expected '='"),
    "JSON": ('{"experiment": {}}', "must be valid TOML, but it is not: Invalid statement (at line 1, column 1)"),
    "a quote left out": (
        with_('"small"', '"small'),
        "Illegal character '\\n' (at line 2, column 14).\n  name = \"small",
    ),
    "typographic quotes": (with_('"small"', "“small”"), 'Texts stand in "double quotes"'),
    "a decimal comma": (with_("0.01", "0,01"), "\n  margin = 0,01\nTexts stand"),
    "a percent sign": (with_("0.01", "1%"), "\n  margin = 1%\n"),
    "a percentage in quotes": (with_("0.01", '"1%"'), "must be a fraction above 0 and below 1, but got '1%'. 0.001 is"),
    "Python's None": (with_("lr = 0.1", "lr = None"), "Invalid value (at line 9, column 16).\n  optim = { lr = None }"),
    "Python's True": (with_("epochs = 3", "epochs = 3, shuffle = True"), "true and false are written small"),
    "an expression": (with_("lr = 0.1", "lr = 1 / 10"), "\n  optim = { lr = 1 / 10 }\n"),
    "a key given twice": (with_("seeds = 3", "seeds = 3\nseeds = 4"), "Cannot overwrite a value (at line 4"),
    "a table given twice": (HEAD + WHOLE, "Cannot declare ('experiment',) twice"),
    "a null character": (HEAD + "\x00" + CONTROL, "must be valid TOML, but it is not: Invalid statement"),
    "brackets without end": ("x = " + "[" * 5000, "Brackets are nested too deep. Close them."),
    "a number of 5,000 digits": (
        with_("seeds = 3", "seeds = " + "9" * 5000),
        "A whole number is above 9223372036854775807. Write a smaller one.",
    ),
    "a number beyond 64 bits": (
        with_("epochs = 3", "epochs = 1000000000000000000000000"),
        "`control.train.epochs` must be at most 9223372036854775807, but got a number of 25 digits.",
    ),
    "a seed beyond 64 bits": (
        with_("seeds = 3", "seeds = [0, 99999999999999999999]"),
        "`experiment.seeds[1]` must be at most 9223372036854775807, but got a number of 20 digits.",
    ),
    "a date": (
        with_("lr = 0.1", "lr = 2020-01-01"),
        "`control.optim.lr` must be a text, a number, true or false, but got the date or time 2020-01-01. If a text is",
    ),
    "a date for a class of one's own": (
        with_('"lenet5"', '"net.py:Net", since = 2020-01-01'),
        "`control.model.since` must be a text, a number, true or false",
    ),
    "not a number": (
        with_('"lenet5"', '"net.py:Net", x = nan'),
        '`control.model.x` must be a finite number, but got nan. Give a number, or "off" for none.',
    ),
    "an infinite value of a sweep": (
        asking('factor = "optim.lr"\nvalues = [inf, 1]'),
        "`question[0].values[0]` must be a finite number, but got inf.",
    ),
    "control characters": (
        HEAD + 'title = "a\\u001b[31mb"\n' + CONTROL,
        r"`experiment.title` must be text without control characters, but got 'a\x1b[31mb'. Take them out.",
    ),
    "an array of controls": (
        with_("[control]", "[[control]]"),
        "`control` must be one table, but got [{'data'",
    ),
    "a control that is a word": (
        'control = "lenet5"\n' + HEAD,
        "`control` must be one table, but got 'lenet5'. Write `[control]`, in single brackets, and its keys below.",
    ),
    "one question in single brackets": (
        WHOLE + '[question]\nid = "q"\n',
        "Questions must be written as `[[question]]` tables, but",
    ),
    "a key of the experiment at the top": (
        "seeds = 3\n" + WHOLE,
        "Unknown key `seeds`. It is a key of `[experiment]`: write it below that.",
    ),
    "a table of the control at the top": (
        WHOLE + "[train]\nbatch_size = 64\n",
        "Unknown key `train`. It is a key of `[control]`: write it below that.",
    ),
    "a key one table too high": (
        with_("[control]", "[control]\nepochs = 3"),
        "Unknown key `control.epochs`. It is a key of `train`.",
    ),
    "a path in quotes": (
        with_("[control]", '[control]\n"optim.momentum" = 0.9'),
        "Take `optim.momentum` out of its quotes, which make one key of it.",
    ),
    "a misspelt table": (WHOLE + "[control.trian]\n", "Unknown key `control.trian`. Did you mean `train`?"),
    "a misspelt key": (with_("lr = 0.1", "lrate = 0.1"), "Unknown key `control.optim.lrate`."),
    "a table for a value": (
        with_("epochs = 3", "epochs = { n = 3 }"),
        "`control.train.epochs` must be a valid integer, but got {'n': 3}.",
    ),
    "a list for a value": (
        with_("lr = 0.1", "lr = [0.1, 0.2]"),
        "`control.optim.lr` must be a valid number, but got [",
    ),
    "a number in quotes": (
        with_("lr = 0.1", 'lr = "0.1"'),
        "`control.optim.lr` must be a valid number, but got '0.1'.",
    ),
    "a rate below 0": (with_("lr = 0.1", "lr = -1"), "`control.optim.lr` must be above 0, but got -1."),
    "a step of no length": (
        WHOLE + 'schedule = { name = "step", step_epochs = 1e-310, gamma = 0.1 }\n',
        "`control.schedule.step_epochs` must be at least 0.001, but got 1e-310.",
    ),
    "an unknown model": (with_('"lenet5"', '"lenet"'), "but got `lenet`. Did you mean `lenet5`?"),
    "a model's file without its class": (with_('"lenet5"', '"net.py"'), "a class of yours as `file.py:Class`, but got"),
    "no margin": (with_("margin = 0.01\n", ""), "`experiment.margin` must be a fraction above 0 and below 1"),
    "no seeds": (with_("seeds = 3", "seeds = []"), "`experiment.seeds` must be a number from 1 to 10,000"),
    "seeds that are words": (
        with_("seeds = 3", 'seeds = ["a"]'),
        "or a list of different whole numbers, but got ['a']",
    ),
    "published the wrong way round": (
        HEAD + "published = [1, 0.9]\n" + CONTROL,
        "`experiment.published` must be two fractions, the lowest and the highest published test accuracy",
    ),
    "a name that is a path": (
        with_("small", "../small"),
        "`experiment.name` must be letters, digits, `-`, `_`, `.` or",
    ),
    "a name too long for a folder": (with_("small", LONG), f"at most 80 of them, but got `{LONG}`. Shorten or rename"),
    "an arm too long for a folder": (
        asking(f'arms.{LONG} = {{ "optim.lr" = 1 }}'),
        "The name of an arm must be letters, digits, `-`, `_`, `.` or `+`, at most 80 of them",
    ),
    "an id too long for a file": (
        with_('"q"', f'"{LONG}"', asking(ARM)),
        "`question[0].id` must be letters, digits, `-`, `_`, `.` or `+`, at most 80 of them",
    ),
    "an id that is a number": (
        with_('"q"', "5", asking(ARM)),
        "`question[0].id` must be a text that is not empty, but",
    ),
    "arms as a list": (asking('arms = ["relu"]'), "`question.q.arms` must name at least one arm, but got ['relu']."),
    "an arm as a list": (
        asking('arms.a = ["relu"]'),
        "`question.q.arms.a` must be a table of factors, but got ['relu']",
    ),
    "a factor without its table": (
        asking('arms.a = { activation = "relu" }'),
        "but got `activation`. Did you mean `model.activation`?",
    ),
    "a factor with the control before it": (
        asking('arms.a = { "control.optim.lr" = 1 }'),
        "but got `control.optim.lr`. Did you mean `optim.lr`?",
    ),
    "an arm like the control": (
        asking('arms.a = { "optim.lr" = 0.1 }'),
        "`optim.lr` is 0.1 in the control too. Remove",
    ),
    "two factors": (asking('arms.a = { "optim.lr" = 1, "train.epochs" = 9 }'), "An arm must change one factor, but"),
    "together with a misspelling": (
        asking(ARM + 'together = [["optim.lrr", "train.epochs"]]'),
        "`question.q.together` must name factors, but does not: Unknown key `optim.lrr`.",
    ),
    "a sweep over a table": (asking('factor = "optim"\nvalues = [1, 2]'), "`question.q.factor` must name factors, but"),
    "a sweep over a text": (asking('factor = "optim.lr"\nvalues = "1, 2"'), "at least two `values`, but got factor ="),
    "truth among numbers": (
        with_("lr = 0.1", "lr = 1", asking('factor = "optim.lr"\nvalues = [true, 2]')),
        "`optim.lr` must be a valid number, but got True.",
    ),
    "a metric of another name": (
        asking('metric = "accuracy"\n' + ARM),
        "must be one of test_accuracy, test_loss, but got",
    ),
    "retune where there is no rate": (asking('arms.a = { "optim.momentum" = "retune" }'), '"retune" must stand at'),
    "a test set that chooses": (
        with_("size = 28", 'size = 28, val = "test"', with_("epochs = 3", 'epochs = 3, keep = "best"')),
        '`data.val = "test"` must not choose anything',
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_refused_by_one_sentence(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text, sentence = KINDS[kind]
    Path("wrong.toml").write_text(text, encoding="utf-8")
    assert main(["run", "wrong.toml"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and sentence in said.err
    assert not re.search(r"Traceback|bug in paribus|datetime\.|<class", said.err)
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"], "nothing is written"


def test_there_are_enough_kinds_and_what_they_are_made_of_is_valid() -> None:
    assert len(KINDS) >= KINDS_AT_LEAST
    assert Experiment.parse(WHOLE).seeds == (0, 1, 2)
    assert list(Experiment.parse(asking(ARM)).arms) == ["control", "a"]


@pytest.mark.parametrize(("value", "reason"), [("9" * 5000, "is too long"), ("[" * 5000, "is too long")])
def test_a_setting_that_no_reader_can_read(value: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"A setting must have a value that can be read, but that of .* {reason}"):
        Experiment.parse(WHOLE, [f"control.train.epochs={value}"])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("photo.toml", b"\x89PNG\r\n\x1a\n\xff", "Give a TOML file, saved in UTF-8."),
        ("utf16.toml", WHOLE.encode("utf-16"), "Give a TOML file, saved in UTF-8."),
        ("\0.toml", None, "Check the path and its permissions."),
        ("folder.toml", None, "An experiment must be a TOML file, but `folder.toml` is a folder."),
        ("none.toml", None, "An experiment file must exist, but `none.toml` does not (looked in `"),
    ],
)
def test_files_that_hold_no_experiment(
    name: str,
    content: bytes | None,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.toml").mkdir()
    if content is not None:
        Path(name).write_bytes(content)
    assert main(["run", name]) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", "mine.toml")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert main(["run", "mine.toml"]) == 2
    assert "`mine.toml` is not: Permission denied. Check the path and its permissions." in capsys.readouterr().err
