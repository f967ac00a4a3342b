"""``reelgate wan pull``, ``repack`` and ``check``, and what doctor and a loading slot say of a folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file
from typer.testing import CliRunner

from adapters.wan_local import _engines
from adapters.wan_local._settings import REPOSITORIES, VARIANTS
from adapters.wan_local.engine import WanEngine, hub
from adapters.wan_local.engine.manifest import MANIFEST
from adapters.wan_local.plugin import register_checks, register_commands
from adapters.wan_local.tiny import Variant
from gateway.spec import PluginContext

Folders = Callable[[Variant], Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
T2V = "wan-2.2-t2v-a14b"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def wan(*arguments: str | Path) -> tuple[int, str, str]:
    (command,) = register_commands()
    done = CliRunner().invoke(command.load(), [str(one) for one in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def copy(folder: Folders, tmp_path: Path) -> Path:
    """A T2V folder that was never loaded, to change."""
    return Path(shutil.copytree(folder("t2v"), tmp_path / "m", ignore=shutil.ignore_patterns("reelgate-*")))


def bytes_of_weights(part: Path) -> int:
    (file,) = part.glob("*.safetensors")
    return sum(one.numel() * one.itemsize for one in load_file(file).values())


def flip_last_byte(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


class TestPull:
    @pytest.fixture
    def asked(self, folder: Folders, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
        """What the hub was asked for; it answers with a folder of the kind that the name says."""
        asked = []

        def download(
            repository: str, *, revision: str, allow_patterns: list[str], local_dir: Path | None
        ) -> str:
            asked.append((repository, revision))
            kinds: tuple[Variant, ...] = ("ti2v", "t2v", "i2v")
            variant = next(kind for kind in kinds if kind in repository.lower())
            assert local_dir is not None
            shutil.copytree(folder(variant), local_dir, ignore=shutil.ignore_patterns("reelgate-*"))
            return str(local_dir)

        monkeypatch.setattr(hub, "snapshot_download", download)
        return asked

    @pytest.mark.parametrize("model", VARIANTS)
    def test_a_models_name_is_enough(self, model: str, asked: list[tuple[str, str]], tmp_path: Path) -> None:
        to = tmp_path / "new"
        code, out, err = wan("pull", model, "--revision", COMMIT, "--to", to, "--json")
        assert code == 0, err
        answer = json.loads(out)
        assert asked == [(answer["repository"], COMMIT)]
        assert answer["repository"] == REPOSITORIES[model]
        assert (answer["model"], answer["folder"], answer["revision"]) == (model, str(to), COMMIT)
        assert (to / MANIFEST).is_file()
        assert WanEngine.load(to).model.digest == answer["digest"]

    def test_it_prints_the_settings_to_paste(self, asked: list[tuple[str, str]], tmp_path: Path) -> None:
        code, out, _ = wan("pull", "an-org/my-ti2v", "--revision", COMMIT, "--to", tmp_path / "new")
        assert code == 0
        assert asked == [("an-org/my-ti2v", COMMIT)]
        first, _, settings = out.partition("\n")
        assert first == f"an-org/my-ti2v@{COMMIT} is in {tmp_path / 'new'}. In config.yaml:"
        assert yaml.safe_load(settings) == {
            "plugins": {"wan_local": {"folders": {"wan-2.2-ti2v-5b": str(tmp_path / "new")}}}
        }

    def test_left_out_the_folder_is_named_as_the_repository(
        self, asked: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert wan("pull", T2V, "--revision", COMMIT)[0] == 0
        assert [path.name for path in tmp_path.iterdir()] == ["Wan2.2-T2V-A14B-Diffusers"]

    def test_a_repository_that_holds_another_model_is_refused(
        self, asked: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Folders
    ) -> None:
        monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(folder("i2v")))
        code, _, err = wan("pull", T2V, "--revision", COMMIT, "--to", tmp_path / "new")
        assert code == 1
        assert f"holds a i2v model, and {T2V} needs t2v" in err

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((T2V, "--revision", "main"), "the full commit hash of 40 digits, not 'main'"),
            ((T2V, "--revision", COMMIT[:12]), "the full commit hash of 40 digits"),
            (("wan-9", "--revision", COMMIT), "wan-9 is no hub id"),
        ],
    )
    def test_what_cannot_be_pulled_is_said(
        self, arguments: tuple[str, ...], says: str, asked: list[tuple[str, str]]
    ) -> None:
        code, _, err = wan("pull", *arguments)
        assert code == 1
        assert says in err
        assert not asked

    def test_a_commit_has_to_be_given(self) -> None:
        code, _, err = wan("pull", T2V)
        assert code == 2
        assert "--revision" in err

    def test_a_network_failure_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def fail(*_: Any, **__: Any) -> str:
            raise LocalEntryNotFoundError("Name or service not known\nPlease check your connection.")

        monkeypatch.setattr(hub, "snapshot_download", fail)
        code, out, err = wan("pull", T2V, "--revision", COMMIT, "--to", tmp_path / "new")
        assert (code, out) == (1, "")
        assert err == (
            f"error: Wan-AI/Wan2.2-T2V-A14B-Diffusers@{COMMIT} could not be downloaded "
            "(Name or service not known): check the network, the id and the commit, and try again\n"
        )

    def test_half_a_download_is_not_pinned(
        self, asked: list[tuple[str, str]], folder: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def half(*_: Any, **__: Any) -> str:
            shutil.copytree(folder("t2v"), tmp_path / "new", ignore=shutil.ignore_patterns("reelgate-*"))
            os.truncate(tmp_path / "new" / "vae" / WEIGHTS, 1000)
            return str(tmp_path / "new")

        monkeypatch.setattr(hub, "snapshot_download", half)
        code, _, err = wan("pull", T2V, "--revision", COMMIT, "--to", tmp_path / "new")
        assert code == 1
        assert f"{tmp_path / 'new' / 'vae' / WEIGHTS} is damaged" in err
        assert not (tmp_path / "new" / MANIFEST).exists()


class TestRepack:
    def test_it_writes_a_pinned_folder_that_loads(self, copy: Path, tmp_path: Path) -> None:
        code, out, err = wan("repack", copy, tmp_path / "new", "--dtype", "fp8", "--json")
        assert code == 0, err
        answer = json.loads(out)
        assert (answer["dtype"], answer["family"], answer["folder"]) == ("fp8", "t2v", str(tmp_path / "new"))
        assert set(answer["parts"]["transformer"]) == {"BF16", "F32", "F8_E4M3"}
        assert WanEngine.load(tmp_path / "new").model.digest == answer["digest"]
        code, out, _ = wan("repack", copy, tmp_path / "bf16", "--dtype", "bf16")
        assert code == 0
        assert out.startswith(f"wrote {tmp_path / 'bf16'}: 0.29")

    @pytest.mark.parametrize("target", ["full", "bad source"])
    def test_what_goes_wrong_is_said(self, target: str, copy: Path, tmp_path: Path) -> None:
        if target == "full":
            code, _, err = wan("repack", copy, copy, "--dtype", "bf16")
            assert f"error: {copy} already exists" in err
        else:
            (copy / "vae" / WEIGHTS).unlink()
            code, _, err = wan("repack", copy, tmp_path / "new", "--dtype", "bf16")
            assert f"error: {copy / 'vae' / WEIGHTS} is missing" in err
        assert code == 1
        assert [path.name for path in tmp_path.iterdir()] == ["m"]


class TestCheck:
    def test_it_says_what_a_folder_holds_and_writes_nothing(self, copy: Path) -> None:
        code, out, err = wan("check", copy, "--json")
        assert code == 0, err
        answer = json.loads(out)
        assert (answer["family"], answer["boundary"], answer["pinned"]) == ("t2v", 0.875, False)
        names = ("text_encoder", "vae", "transformer", "transformer_2")
        assert answer["parts"] == {name: {"F32": bytes_of_weights(copy / name)} for name in names}
        assert not (copy / MANIFEST).exists()
        assert WanEngine.load(copy).model.digest == answer["digest"]
        code, out, _ = wan("check", copy)
        assert code == 0
        lines = out.splitlines()
        assert lines[0] == f"{copy}: t2v, two experts, boundary 0.875"
        assert lines[1] == "  text_encoder: 0.104 MB F32"
        assert lines[-1] == f"  12 files, digest {answer['digest']}, as {MANIFEST} says"

    def test_a_changed_byte_is_named(self, copy: Path) -> None:
        WanEngine.load(copy)
        flip_last_byte(copy / "transformer" / WEIGHTS)
        code, out, err = wan("check", copy)
        assert (code, out) == (1, "")
        assert f"error: {copy / 'transformer' / WEIGHTS} has the SHA-256" in err

    def test_a_hub_id_is_not_downloaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("downloading"))
        code, _, err = wan("check", "an-org/a-model")
        assert code == 1
        assert "an-org/a-model: no such folder" in err


class TestDoctor:
    def problem(self, folder: Path) -> str | None:
        context = PluginContext(
            settings={"wan_local": {"folders": {T2V: str(folder)}}}, data_dir=Path("/nowhere")
        )
        checks = {check.name: check for check in register_checks(context)}
        return checks[f"wan_local: folders.{T2V}"].run()

    def test_it_reads_headers(self, copy: Path) -> None:
        assert self.problem(copy) is None
        config = copy / "transformer" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"ffn_dim": 48}))
        assert "as [32, 24], and config.json says [48, 24]" in (self.problem(copy) or "")

    def test_it_compares_sizes_with_the_manifest_and_hashes_nothing(self, copy: Path) -> None:
        WanEngine.load(copy)
        flip_last_byte(copy / "transformer" / WEIGHTS)
        assert self.problem(copy) is None
        (copy / "tokenizer" / "added.json").write_text("{}")
        assert f"added.json is not in {MANIFEST}" in (self.problem(copy) or "")


def test_a_slot_logs_each_quarter_of_a_large_part(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="adapters.wan_local")
    report = _engines._log_progress()
    for done in range(0, 101, 5):
        report("transformer", done * 10**8, 100 * 10**8)
    report("vae", 5, 10)
    assert [record.getMessage() for record in caplog.records] == [
        f"loading, transformer: {quarter}% of 10.0 GB" for quarter in (25, 50, 75, 100)
    ]
