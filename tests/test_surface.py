"""What users hold on to: names, start-up time, the commands, the README. Prints the commands' snapshot when run."""

from __future__ import annotations

import importlib
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

import paribus
import paribus.transfer
from paribus import engines, experiments
from paribus.cli import main
from paribus.cli.commands import app
from paribus.experiment import CONTROL_RETUNED, Experiment
from pretrained import write_weights

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).parent / "snapshots" / "cli.txt"
HEAVY = ("torch", "torchvision", "ray", "matplotlib", "fastapi", "scipy", "sklearn", "jinja2")
DOMAIN = ("errors", "config", "experiment", "store", "metrics", "stats", "tuning", "verdicts", "checks", "commentary")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(code: str, *names: str) -> list[str]:
    """Which of the packages a fresh interpreter has loaded after some code."""
    printed = run_python(f"import sys\n{code}\nprint('LOADED', *sorted({set(names)} & set(sys.modules)))")
    return printed.splitlines()[-1].split()[1:]


def test_all_names_what_there_is() -> None:
    assert sorted(paribus.__all__) == dir(paribus) == sorted(set(paribus.__all__))
    for name in paribus.__all__:
        assert getattr(paribus, name) is not None
    homes = {name: getattr(paribus, name).__module__ for name in paribus.__all__ if name != "__version__"}
    assert {home for home in homes.values() if not home.startswith("paribus.")} == set()


def test_a_name_that_is_not_there_says_what_is() -> None:
    with pytest.raises(AttributeError, match=r"module `paribus` has no attribute `trian`. It has Experiment, "):
        paribus.trian  # noqa: B018


@pytest.mark.parametrize("package", ["audit", "checks", "cli", "data", "engines", "experiments", "models", "transfer"])
def test_packages_export_what_they_import_by_name(package: str) -> None:
    module = importlib.import_module(f"paribus.{package}")
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_import_costs_nothing() -> None:
    assert loaded_after("import paribus", *HEAVY, "numpy", "pydantic", "typer", "rich") == []
    assert loaded_after("import paribus\nparibus.Experiment", "pydantic") == ["pydantic"]


def test_the_domain_loads_no_torch() -> None:
    imports = "\n".join(f"import paribus.{name}" for name in DOMAIN)
    assert loaded_after(imports, *HEAVY) == []


def test_which_weights_a_run_has_is_told_without_torch(tmp_path: Path) -> None:
    """The process that conducts an experiment needs their digest only; what is asked for by name loads the rest."""
    code = f"from paribus.transfer import find_weights\nfind_weights({str(write_weights(tmp_path))!r}).digest"
    assert loaded_after(code, *HEAVY, "timm") == []
    with pytest.raises(AttributeError, match=r"`paribus.transfer` has no attribute `Backbones`. It has Backbone, "):
        paribus.transfer.Backbones  # noqa: B018


def test_help_loads_nothing_heavy() -> None:
    """Its time is in benchmarks/launch."""
    assert loaded_after("from paribus.cli import main\nmain(['--help'])", *HEAVY, "numpy", "pydantic") == []


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def snapshot() -> str:
    """One line per command, then one per argument and option, with its default."""
    lines = []
    for name, command in sorted(commands().items()):
        lines.append(f"paribus {name}")
        for parameter in command.params:
            label = " ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.metavar
            needed = "required" if parameter.required else f"default {parameter.default}"
            lines.append(f"  {label or parameter.name}: {needed}{', repeatable' if parameter.multiple else ''}")
    return "\n".join(lines) + "\n"


def test_commands_are_the_ones_in_the_snapshot() -> None:
    """After a change on purpose: make snapshots."""
    assert snapshot() == SNAPSHOT.read_text(encoding="utf-8")


def test_every_engine_is_offered() -> None:
    (option,) = [parameter for parameter in commands()["run"].params if parameter.name == "engine"]
    assert option.metavar == "|".join(["auto", *engines.ENGINES])


def test_the_console_script_is_main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["paribus"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands_in(page: str) -> list[list[str]]:
    """The command lines of a page's code blocks, without prompts and comments."""
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].removeprefix("$ ").split() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def faults_of(line: list[str]) -> list[str]:
    """What is wrong with a command of the README; commands of other programs are not looked at."""
    program, *words = line
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return [f"no target {word}" for word in words if "=" not in word and f"\n{word}:" not in makefile]
    if program != "paribus":
        return []
    name, *rest = words
    if name not in commands():
        return [f"no command {name}"]
    options = {option for parameter in commands()[name].params for option in parameter.opts}
    faults = [f"no option {word}" for word in rest if word.startswith("--") and word not in options]
    if rest and rest[0].startswith("lenet") and rest[0] not in experiments.names():
        faults.append(f"no experiment {rest[0]}")
    return faults


def test_the_commands_of_the_readme_exist() -> None:
    lines = commands_in(README)
    assert ["make", "demo"] in lines
    assert ["make", "test"] in lines
    assert [fault for line in lines for fault in faults_of(line)] == []


def test_the_experiment_of_the_readme_is_one() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert Experiment.parse(block).questions[0].arms == ("relu",)


def test_the_check_of_the_readme_has_teeth() -> None:
    assert commands_in("```sh\n$ make demo   # one\n```\n") == [["make", "demo"]]
    assert faults_of(["make", "coffee"]) == ["no target coffee"]
    assert faults_of(["paribus", "trian"]) == ["no command trian"]
    assert faults_of(["paribus", "run", "lenet-digit", "--sed"]) == ["no option --sed", "no experiment lenet-digit"]


def test_the_list_counts_the_arms_that_the_readme_counts(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "experiments"])
    listed = re.search(r"^lenet-digits +(\d+) +(\d+) ", capsys.readouterr().out, re.MULTILINE)
    assert listed
    assert f"{listed[1]} arms x {listed[2]} seeds" in README


def test_the_numbers_of_the_readme() -> None:
    digits = Experiment.load(experiments.find("lenet-digits"))
    written = [name for name in digits.arms if name != CONTROL_RETUNED]
    assert f"{len(written)} arms x {len(digits.seeds)} seeds = {len(written) * len(digits.seeds)} runs" in README
    from paribus.data import SOURCES

    images = sum(SOURCES["digits"].train_counts) + sum(SOURCES["digits"].test_counts)
    assert f"{images:,} real digits" in README


def test_tests_cannot_reach_the_network() -> None:
    with socket.socket() as outside, pytest.raises(RuntimeError, match="Tests must not use the network, but one conn"):
        outside.connect(("192.0.2.1", 80))
    with socket.socket() as server, socket.socket() as inside:
        server.bind(("127.0.0.1", 0))
        server.listen()
        inside.connect(server.getsockname())


if __name__ == "__main__":
    sys.stdout.write(snapshot())
