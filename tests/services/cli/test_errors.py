"""Errors as a user meets them: one line with the reason, and a hint that names the command or the option."""

import inspect
import socket
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from helpers.pictures import photo
from typer.testing import CliRunner

from classifiers import errors as heads
from embedder import errors as encoders
from services.cli import errors
from services.cli.app import app
from services.jobs import errors as jobs
from services.web.errors import RemoteProblem, ServiceDown
from store import errors as stored

NOT_THERE = "error: {}; ingest assets there first, or open another store"


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (encoders.LicenceNotAccepted("imagebind/huge", "not for commercial use"), "--accept-noncommercial"),
        (encoders.CheckpointNotTrusted(Path("a.pt")), "--trust-checkpoint or set HEADWATER_TRUST_CHECKPOINT=true"),
        (stored.UnknownFeatures("lite1", []), "headwater backfill --encoder lite1`"),
        (stored.UnknownFeatures("lite1", [], "tokens"), "headwater backfill --encoder lite1 --tokens`"),
        (stored.UnknownTask("t", []), "headwater ingest"),
        (heads.UnknownHead("h", []), "headwater train"),
        (heads.UnknownVersion("v", ["w"]), "headwater heads list"),
        (heads.UnknownClustering("c", []), "headwater cluster"),
        (heads.NoTokens("lite1"), "headwater backfill --encoder lite1 --tokens`"),
        (heads.NoVectors("t", ["a", "b"], present=0, classes=2, word="classes", refused={}), "--encoder a` and `"),
        (stored.NoStore("x"), "headwater ingest"),
        (jobs.NoRay("none"), "--ray-address"),
        (jobs.NoWorkerFits("none"), "--cpus and --gpus"),
        (ServiceDown("classification", "http://x", "refused"), "headwater up"),
        (RemoteProblem(422, "no_texts", "it knows its own labels only"), "--labels"),
        (stored.BadVectors("not finite"), ""),
        (stored.UnknownFeatures("lite1", ["lite0"]), "or choose a stored encoder with --encoder"),
        (stored.NoExport("empty"), "headwater export"),
        (stored.BadSource("no file"), ""),
        (encoders.ProbeMismatch("too coarse", ["fp32"]), "HEADWATER_BACKEND or --backend without a precision"),
        (encoders.ProbeMismatch("other weights"), ""),
        (heads.NoDiskSpace("full"), "TMPDIR"),
        (heads.NotCompared("gaussian @ b", "b", ["a"]), "--encoder a --encoder b"),
        (heads.BadParameter("C"), ""),
        (heads.NameTaken("cells"), "--task"),
        (heads.BadClustering("damaged"), ""),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
def test_each_error_has_the_hint_of_its_nearest_type(error, helps):
    assert helps in errors.hint(error)
    assert bool(errors.hint(error)) == bool(helps)


def defined_in(module: ModuleType) -> list[type[Exception]]:
    """Return the exceptions that `module` defines and that are raised: those without a subclass there."""
    own = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    return [each for each in own if issubclass(each, Exception) and not set(each.__subclasses__()) & set(own)]


@pytest.mark.parametrize("module", [encoders, stored, heads, jobs], ids=lambda module: module.__name__)
def test_every_error_of_the_lower_packages_is_one_line(module):
    assert defined_in(module)
    assert not [each for each in defined_in(module) if not issubclass(each, errors.EXPECTED)]


@pytest.mark.parametrize("module", [encoders, stored], ids=lambda module: module.__name__)
def test_a_worker_reports_what_the_command_prints(module):
    """All but what jobs do not do: they write no ONNX."""
    unexpected = {each for each in defined_in(module) if not issubclass(each, jobs.EXPECTED)}
    assert unexpected <= {encoders.ExportFailed}


def test_a_store_that_is_not_there_is_named(headwater, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo(1))
    commands = (["backfill"], ["train", "--task", "t", "--name", "n"], ["export", "out"], ["cluster", "--task", "t"])
    for command in commands:
        code, _, err = headwater(*command, "--store", "nosuch")
        assert (code, err.splitlines()[0]) == (1, NOT_THERE.format(f"there is no store at {tmp_path}/nosuch"))
        assert err.splitlines()[1].startswith("hint: `headwater ingest")
    code, _, err = headwater("backfill", "--store", "photos")
    assert (code, err.splitlines()[0]) == (1, NOT_THERE.format(f"{tmp_path}/photos has no tables of a store"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize("command", ["backfill", "ingest photos", "import exported", "export out"])
def test_no_command_takes_the_current_folder_if_no_store_is_chosen(headwater, tmp_path, command):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo(1))
    assert headwater("ingest", "photos", "--store", "elsewhere")[0] == 0
    assert headwater("export", "exported", "--store", "elsewhere")[0] == 0
    before = sorted(path.name for path in tmp_path.iterdir())
    for words, variables in (([], {"HEADWATER_STORE": ""}), (["--store", ""], {})):
        code, _, err = headwater(*command.split(), *words, **variables)
        assert (code, err.splitlines()[0]) == (1, "error: no store is chosen")
        assert err.splitlines()[1].startswith("hint: `headwater ingest SOURCE --store URI` makes one")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_setting_that_is_not_allowed_is_one_line(headwater, headwater_process):
    code, _, err = headwater("doctor", HEADWATER_MAX_PIXELS="0")
    assert (code, err) == (1, "error: HEADWATER_MAX_PIXELS=0: Input should be greater than 0\n")
    code, _, err = headwater_process("serve", "embedding", HEADWATER_MAX_ITEMS="1000")
    assert (code, len(err.splitlines())) == (1, 1)
    assert err.startswith("error: HEADWATER_MAX_ITEMS=1000 exceeds HEADWATER_MAX_QUEUE=512: ")


@pytest.mark.parametrize("command", [["serve", "embedding"], ["serve", "classification"], ["up"]], ids=" ".join)
def test_no_service_listens_on_port_0(headwater_process, command):
    """Its own address would be known to nobody: `up` waited for it until its time was over."""
    name = command[-1].replace("up", "embedding")
    variable = f"HEADWATER_{name.upper()}_PORT"
    code, out, err = headwater_process(*command, **{variable: "0"})
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(f"error: {variable}=0: Input should be greater than or equal to 1")


def test_a_port_that_is_taken_comes_with_the_options_that_choose_another(headwater_process):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, err = headwater_process("up", "--embedding-port", port)
    first, second = err.splitlines()
    assert code == 1
    assert first.startswith(f"error: the embedding service cannot listen on 127.0.0.1:{port}: ")
    assert second == "hint: --embedding-port and --classification-port choose other ports"


def test_a_wrong_value_is_told_by_option_or_variable(headwater_process):
    allowed = "unknown backend 'foo'; allowed: auto, torch or openvino, "
    code, _, err = headwater_process("serve", "embedding", "--backend", "foo")
    assert (code, err.count("\n"), err.startswith(f"error: --backend foo: {allowed}")) == (1, 1, True)
    code, _, err = headwater_process("serve", "embedding", HEADWATER_BACKEND="foo")
    assert (code, err.count("\n"), err.startswith(f"error: HEADWATER_BACKEND=foo: {allowed}")) == (1, 1, True)
    code, _, err = headwater_process("up", "--log-level", "foo")
    assert (code, err) == (
        1,
        "error: --log-level foo: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'\n",
    )
    code, _, err = headwater_process("serve", "embedding", "--port", "70000")
    assert (code, "--port" in err) == (2, True)


def test_up_logs_at_the_level_of_the_setting_and_otherwise_only_warnings(monkeypatch):
    """`up` gives its services a level: the option's, the variable's, or WARNING."""
    levels = []

    @contextmanager
    def noted(settings, *, one_process):
        levels.append(settings.log_level)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("services.processes.running", noted)
    for arguments, variables in ((["--log-level", "info"], {}), ([], {"HEADWATER_LOG_LEVEL": "error"}), ([], {})):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        CliRunner().invoke(app, ["up", *arguments])
        monkeypatch.delenv("HEADWATER_LOG_LEVEL", raising=False)
    assert levels == ["INFO", "ERROR", "WARNING"]


def test_a_licence_is_accepted_by_an_option(headwater, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(1))
    assert headwater("ingest", "a.png")[0] == 0
    code, _, err = headwater("backfill", "--encoder", "imagebind/huge")
    assert code == 1
    assert "commercial" in err
    assert "hint: if your use is not commercial, add --accept-noncommercial" in err
