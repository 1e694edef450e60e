"""The shells understand the scripts, and complete what is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from organoseg.cli import completion
from organoseg.cli.examples import walk
from organoseg.cli.main import VERBS, build_parser, main

pytest.importorskip("shtab", reason="shtab is not installed")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_verb_and_action_is_in_the_script(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    words = {word for name, _ in walk(build_parser()) for word in name.split()}
    assert [word for word in words if word not in script] == []
    assert "thorough" in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_itself_takes_the_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(completion.script(shell))
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def complete(tmp_path: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    (tmp_path / "script").write_text(completion.script("bash"))
    line = " ".join(f"'{word}'" for word in words)
    program = (
        "source ./script\n"
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
        "spec=$(complete -p organoseg) && call=${spec##*-F } && call=${call%% *}\n"
        f'$call organoseg "{words[-1]}" "{words[-2]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    done = subprocess.run(
        [bash, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    return {word.strip() for word in done.stdout.split("\n") if word.strip()}


def test_bash_completes_verbs_actions_options_and_files(tmp_path: Path) -> None:
    assert set(VERBS) <= complete(tmp_path, "organoseg", "")
    assert complete(tmp_path, "organoseg", "eva") == {"evaluate"}
    assert {"create", "index", "check", "info"} <= complete(tmp_path, "organoseg", "archive", "")
    assert complete(tmp_path, "organoseg", "predict", "--score") == {"--score-threshold"}
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / "runs").mkdir()
    assert "recipe.yaml" in complete(tmp_path, "organoseg", "train", "rec")
    assert complete(tmp_path, "organoseg", "train", "x.yaml", "--out", "r") == {"runs"}


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install shtab" in capsys.readouterr().err
