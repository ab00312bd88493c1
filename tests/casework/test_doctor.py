"""The doctor says what is wrong, and outlives what it tries."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from console.casework import doctor, doctor_machine
from console.casework.doctor import Around, Trials, examine
from console.casework.doctor_checks import Check, Examination, Status
from console.casework.doctor_children import Child, Ended, end_in_words
from console.engines import llama_probe
from console.errors import InputError, ModelFileError
from console.jobs.tasks import doctor as task
from console.ledger import database, setup_check
from console.paths import Places

posix = pytest.mark.skipif(os.name != "posix", reason="signals end a process in another way here")
TORCH_SAYS = {
    "version": "9.9",
    "devices": [{"kind": "cpu"}, {"kind": "cuda", "index": 0, "name": "Fast Card", "memory_bytes": 80 * 2**30}],
    "threads": 3,
    "device": "cuda",
    "bfloat16": True,
    "stage": "done",
}
LLAMA_SAYS = {"version": "0.3", "system_info": "AVX2 = 1", "gpu_offload": False, "decoded": 36, "stage": "done"}
QT_SAYS = {"version": "6.9", "platform": "offscreen", "stage": "done"}
SEGFAULT = "import ctypes; ctypes.string_at(0)"


def saying(*facts: dict[str, Any], then: str = "") -> tuple[str, ...]:
    """A child that says these facts and then runs this code."""
    lines = "".join(f"print({json.dumps(one)!r}, flush=True); " for one in facts)
    return (sys.executable, "-c", f"{lines}\n{then}")


FINE = Trials(torch=saying(TORCH_SAYS), llama=saying(LLAMA_SAYS), qt=saying(QT_SAYS))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(data=tmp_path / "office", cache=tmp_path / "cache")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, to see what is left in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def look(places: Places, trials: Trials = FINE, device: str = "auto") -> Examination:
    return examine(places, device, lambda _: None, trials)


def one(found: Examination, name: str) -> Check:
    (check,) = [check for check in found.checks if check.name == name]
    return check


def test_a_healthy_machine_is_ready_and_nothing_is_left(places: Places, temporary: Path) -> None:
    said: list[str] = []
    found = examine(places, "auto", said.append, FINE)
    assert found.ready and found.summary.endswith("with torch and llama.cpp.")
    assert one(found, "torch").sentence == (
        "torch 9.9 computes on the processor and cuda (Fast Card, 80.0 GiB) with 3 threads; bfloat16 works."
    )
    assert one(found, "device").sentence == "Jobs run on cuda (asked for: auto)."
    assert not list(temporary.iterdir()) and not places.data.exists() and not places.cache.exists()
    assert len(said) >= 5


def test_the_names_and_keys_stay(places: Places) -> None:
    value = look(places).as_json("1.2.3")
    assert list(value) == [
        *("schema_version", "console", "ready", "summary", "device", "engines", "lacking", "seconds", "checks"),
    ]
    assert value["schema_version"] == 1 and value["engines"] == ["torch", "llama-cpp"] and value["lacking"] == []
    assert [check["name"] for check in value["checks"]] == [
        *("torch", "llama-cpp", "device", "system", "processor", "memory"),
        *("data-folder", "cache-folder", "temporary-folder", "clock", "encryption", "keyring"),
        *("pdf-fonts", "pdf-signing", "poppler", "sample-model", "display", "qt-system-libraries", "qt"),
    ]
    for check in value["checks"]:
        assert list(check) == ["name", "title", "status", "needed", "sentence", "details"]
        assert check["status"] in {"ok", "warning", "missing", "failed"} and "\n" not in check["sentence"]
    json.dumps(value, allow_nan=False)


# -- children that die --------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("code", "signal"), [("import os; os.abort()", "SIGABRT (6"), (SEGFAULT, "SIGSEGV (11")])
def test_a_crash_of_llama_cpp_costs_one_line(places: Places, temporary: Path, code: str, signal: str) -> None:
    dying = saying({"stage": "loading"}, {"version": "0.3", "stage": "computing with the test model"}, then=code)
    found = look(places, replace(FINE, llama=dying))
    check = one(found, "llama-cpp")
    assert check.status is Status.FAILED
    assert f"crashed with signal {signal}" in check.sentence
    assert "while computing with the test model; install the portable build: " in check.sentence
    assert "llama-cpp-python==0.3" in check.sentence
    assert check.details["exit_code"] < 0 and any("most recent call first" in line for line in check.details["log"])
    assert found.ready and found.summary.endswith("with torch.")
    assert not list(temporary.iterdir())


@posix
def test_without_any_engine_the_machine_is_not_ready(places: Places) -> None:
    absent = saying({"stage": "loading the library", "absent": "llama_cpp"})
    found = look(places, replace(FINE, torch=saying(then="import os; os.abort()"), llama=absent))
    assert not found.ready and [check.name for check in found.lacking] == ["torch", "llama-cpp"]
    assert one(found, "torch").status is Status.FAILED
    assert one(found, "llama-cpp").status is Status.MISSING and "erasure-console[llamacpp]" in found.checks[1].sentence
    assert one(found, "device").status is Status.WARNING
    assert "see torch, llama.cpp" in found.summary


def test_an_engine_alone_is_enough(places: Places) -> None:
    found = look(places, replace(FINE, torch=saying({"absent": "torch"})))
    assert found.ready and found.summary.endswith("with llama.cpp.")
    assert "pip install torch" in one(found, "torch").sentence


def test_what_torch_needs_beside_itself_is_missed(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor_machine.installed_version
    monkeypatch.setattr(doctor_machine, "installed_version", lambda name: None if name == "peft" else real(name))
    check = one(look(places), "torch")
    assert check.status is Status.MISSING and check.sentence.endswith("pip install peft")


def test_what_llama_cpp_needs_beside_itself_is_not_taken_for_it(places: Places) -> None:
    check = one(look(places, replace(FINE, llama=saying({"absent": "gguf"}))), "llama-cpp")
    assert check.status is Status.MISSING and check.sentence.endswith("pip install gguf")


@pytest.mark.parametrize(
    ("child", "said"),
    [
        (saying({"stage": "loading", "error": "OSError: libx.so."}), "does not work (OSError: libx.so) while loading"),
        (saying({"stage": "loading"}), "ended without a result while loading"),
        (saying(then="raise SystemExit(7)"), "ended with code 7"),
        (saying(TORCH_SAYS, then="raise SystemExit(7)"), "ended with code 7"),
    ],
)
def test_no_bad_end_is_taken_for_a_good_one(places: Places, child: tuple[str, ...], said: str) -> None:
    check = one(look(places, replace(FINE, torch=child)), "torch")
    assert check.status is Status.FAILED and f"torch {said};" in check.sentence


def test_a_child_that_hangs_is_ended_at_the_limit(places: Places) -> None:
    pid_said = "import os, json; print(json.dumps({'pid': os.getpid(), 'stage': 'loading'}), flush=True)\n"
    hanging = (sys.executable, "-c", pid_said + "import time; time.sleep(600)")
    found = look(places, replace(FINE, qt=hanging, time_limit_s=6.0))
    check = one(found, "qt")
    assert check.status is Status.FAILED and "gave no answer in time while loading" in check.sentence
    assert not psutil.pid_exists(check.details["pid"])
    assert found.ready, "the window is not needed"


def test_children_do_not_outlive_an_interruption(places: Places, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def interrupt(text: str) -> None:
        if text == "Waiting for torch":
            while not mark.exists() or not mark.read_text():
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(places, "auto", interrupt, replace(FINE, torch=(sys.executable, "-c", code)))
    assert not psutil.pid_exists(int(mark.read_text()))


def test_ends_in_words() -> None:
    if os.name == "posix":
        assert end_in_words(-11) == "crashed with signal SIGSEGV (11; it used memory that is not its own)"
        assert end_in_words(-200) == "crashed with signal 200"
    assert end_in_words(0xC0000005) == "crashed with Windows error 0xC0000005"
    assert end_in_words(3) == "ended with code 3"


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    code = "print('{\"a\": 1}'); print('[1]'); print('{\"a\": 2, \"b'); print('words')"
    ended = Child("x", (sys.executable, "-c", code), tmp_path, 30.0).ended()
    assert ended.facts == {"a": 1} and ended.code == 0


@posix
def test_a_crash_leaves_no_image_of_the_memory(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        code = "import json, resource; print(json.dumps({'core': resource.getrlimit(resource.RLIMIT_CORE)[0]}))"
        assert Child("x", (sys.executable, "-c", code), tmp_path, 30.0).ended().facts == {"core": 0}
        assert resource.getrlimit(resource.RLIMIT_CORE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


# -- builds and devices -------------------------------------------------------------------------


def test_the_portable_build_is_known_by_its_mark(tmp_path: Path) -> None:
    mark = tmp_path / doctor.PORTABLE_MARK
    assert not doctor.portable_build(tmp_path, "0.3")
    mark.write_text("0.3 -DGGML_NATIVE=OFF", encoding="utf-8")
    assert doctor.portable_build(tmp_path, "0.3")
    assert not doctor.portable_build(tmp_path, "0.4"), "another version was installed over it"
    good = doctor.llama_check(Ended(LLAMA_SAYS, 0), tmp_path)
    assert good.details["portable_build"] is True and "(the portable build)" in good.sentence
    other = doctor.llama_check(Ended(LLAMA_SAYS | {"version": "0.4"}, 0), tmp_path)
    assert other.status is Status.OK and "not the console's portable build" in other.sentence
    dead = doctor.llama_check(Ended({"version": "0.3", "stage": "x"}, 139), tmp_path)
    assert "this is the portable build already" in dead.sentence and "packaging" not in dead.sentence


def test_the_mark_is_the_one_that_the_installer_leaves() -> None:
    assert packaging("install_llamacpp").MARK == doctor.PORTABLE_MARK


def test_a_device_that_was_asked_for_has_to_be_there(places: Places) -> None:
    refused = saying({**TORCH_SAYS, "device": None, "refused": "This machine has no usable mps device; choose cpu."})
    found = look(places, replace(FINE, torch=refused), device="mps")
    assert one(found, "torch").status is Status.OK
    assert one(found, "device").status is Status.MISSING
    assert not found.ready and [check.name for check in found.lacking] == ["device"]
    with pytest.raises(InputError, match="'tpu' is not a device"):
        look(places, device="tpu")


def test_a_device_is_not_promised_when_torch_died(places: Places) -> None:
    dead = replace(FINE, torch=saying(then="raise SystemExit(1)"))
    assert not look(places, dead, device="cuda").ready
    with_gpu = replace(dead, llama=saying(LLAMA_SAYS | {"gpu_offload": True}))
    found = look(places, with_gpu, device="cuda")
    assert found.ready and "Only llama.cpp can use cuda" in one(found, "device").sentence


# -- folders, clock, memory ---------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    found = look(Places(data=tmp_path / "file" / "office", cache=tmp_path / "cache"))
    check = one(found, "data-folder")
    assert check.status is Status.FAILED and "cannot be written" in check.sentence and not found.ready
    assert one(found, "cache-folder").status is Status.OK


Usage = namedtuple("Usage", "total used free")
Memory = namedtuple("Memory", "total available")


@pytest.mark.parametrize(
    ("free", "status", "ready"),
    [(100 * 2**20, Status.FAILED, False), (2**30, Status.WARNING, True), (2**40, Status.OK, True)],
)
def test_the_room_on_the_disk(
    places: Places, monkeypatch: pytest.MonkeyPatch, free: int, status: Status, ready: bool
) -> None:
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda _: Usage(2**41, 2**41 - free, free))
    found = look(places)
    assert one(found, "data-folder").status is status and found.ready is ready
    assert one(found, "data-folder").details["free_bytes"] == free


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine.psutil, "virtual_memory", lambda: Memory(2**32, 2**28))
    check = doctor_machine.memory()
    assert check.status is Status.WARNING and "Only 256 MiB of 4.0 GiB" in check.sentence


def test_a_clock_that_cannot_be_right() -> None:
    lost = doctor_machine.clock(datetime(1970, 1, 2, tzinfo=UTC), {})
    assert lost.status is Status.FAILED and lost.needed
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert doctor_machine.clock(now, {"TZ": "Europe/Berlin"}).status is Status.OK
    assert doctor_machine.clock(now, {"TZ": "CET-1CEST,M3.5.0/2,M10.5.0/3"}).status is not Status.FAILED
    unknown = doctor_machine.clock(now, {"TZ": "Europe/Atlantis"})
    assert unknown.status is Status.WARNING and "Atlantis" in unknown.sentence
    assert doctor_machine.clock(now, {}).details["utc"] == "2026-11-27T12:00:00+00:00"


def test_the_clock_is_handed_in(places: Places) -> None:
    around = Around(clock=lambda: datetime(1999, 1, 1, 12, tzinfo=UTC))
    found = examine(places, "auto", lambda _: None, FINE, around)
    assert not found.ready and [check.name for check in found.lacking] == ["clock"]


# -- encryption and keyring ---------------------------------------------------------------------


def test_encryption_is_tried_for_real(tmp_path: Path) -> None:
    check = doctor_machine.encryption(tmp_path)
    assert check.status is Status.OK and check.details["sqlcipher"] and check.details["sqlcipher3"]


def test_a_database_that_takes_any_passphrase_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(database.Database):
        def __init__(self, path: Path, passphrase: str, *, read_only: bool) -> None:
            super().__init__(path, "one for all", read_only=read_only)
            del passphrase

    monkeypatch.setattr(setup_check, "Database", Careless)
    check = doctor_machine.encryption(tmp_path)
    assert check.status is Status.FAILED and check.needed and "takes any passphrase" in check.sentence


def test_a_database_that_writes_in_clear_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_configure", lambda *_, **__: None)
    check = doctor_machine.encryption(tmp_path)
    assert check.status is Status.FAILED and "writes in clear" in check.sentence


class Trusty:
    """A keyring that must never be asked for anything."""

    def get_password(self, service: str, username: str) -> str | None:
        raise AssertionError("the doctor read from the keyring")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("the doctor wrote to the keyring")


def test_keyrings_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backends import fail, null

    for backend in (fail.Keyring(), null.Keyring()):
        monkeypatch.setattr(keyring, "get_keyring", lambda backend=backend: backend)
        check = doctor_machine.keyring()
        assert check.status is Status.MISSING and not check.needed
        assert type(backend).__module__ in check.sentence
    monkeypatch.setattr(keyring, "get_keyring", Trusty)
    check = doctor_machine.keyring()
    assert check.status is Status.OK and check.details["backend"].endswith(".Trusty")
    several = SimpleNamespace(backends=[Trusty(), null.Keyring()])
    assert setup_check.find_keyring(several).name == f"{Trusty.__module__}.Trusty + keyring.backends.null.Keyring"


def test_a_keyring_that_cannot_be_loaded_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring

    def broken() -> object:
        raise RuntimeError("no session bus")

    monkeypatch.setattr(keyring, "get_keyring", broken)
    check = doctor_machine.keyring()
    assert check.status is Status.MISSING and check.details["backend"] is None


# -- reports and windows ------------------------------------------------------------------------


def test_poppler_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = doctor_machine.poppler()
    assert check.status is Status.MISSING and not check.needed
    assert check.sentence.startswith("pdftoppm and pdfsig of Poppler are not installed; the console does not need")
    if os.name == "posix":
        for name in ("pdftoppm", "pdfsig"):
            (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
        assert doctor_machine.poppler().status is Status.OK


def test_a_pdf_library_that_is_missing_or_broken_is_needed() -> None:
    def without(kind: type[Exception]) -> Callable[[str], object]:
        def load(module: str) -> object:
            if module == "pikepdf":
                raise kind("libqpdf.so.30: cannot open shared object file")
            return object()

        return load

    assert doctor_machine.pdf_libraries().status is Status.OK
    missing = doctor_machine.pdf_libraries(without(ModuleNotFoundError))
    assert (missing.status, missing.needed) == (Status.MISSING, True) and missing.sentence.endswith(" pikepdf")
    broken = doctor_machine.pdf_libraries(without(ImportError))
    assert broken.status is Status.FAILED and "libqpdf" in broken.details["pikepdf_error"]


def test_fonts_that_are_not_there_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    from console.reports import fonts

    assert doctor_machine.fonts().status is Status.OK

    def absent() -> None:
        raise FileNotFoundError("NotoSans-Regular.ttf")

    monkeypatch.setattr(fonts, "register_fonts", absent)
    check = doctor_machine.fonts()
    assert check.status is Status.FAILED and check.needed and "NotoSans" in check.details["error"]


def test_the_window_needs_a_display_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert doctor_machine.display({}).status is Status.MISSING
    assert doctor_machine.display({"DISPLAY": ":0"}).status is Status.OK
    assert doctor_machine.display({"WAYLAND_DISPLAY": "wayland-0"}).status is Status.OK
    assert doctor_machine.qt_system_libraries(lambda name: name).status is Status.OK
    lacking = doctor_machine.qt_system_libraries(lambda name: None if name == "EGL" else name)
    assert lacking.status is Status.MISSING and lacking.details["missing"] == ["libegl1"]
    assert lacking.sentence.endswith("sudo apt-get install libegl1")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert doctor_machine.display({}).status is Status.OK
    assert doctor_machine.qt_system_libraries(lambda _: None).status is Status.OK


def test_the_list_of_libraries_is_the_installers_list() -> None:
    assert doctor_machine.QT_SYSTEM_LIBRARIES == packaging("install_system_libraries").NEEDED


def test_the_sample_model_is_only_information(places: Places) -> None:
    assert doctor_machine.sample_model(places).status is Status.MISSING
    folder = places.cache / "sample-model"
    folder.mkdir(parents=True)
    (folder / doctor_machine.MODEL_FILE).write_bytes(b"GGUF")
    check = doctor_machine.sample_model(places)
    assert check.status is Status.OK and check.details["bytes"] == 4 and not check.needed


def packaging(name: str) -> Any:
    """A script of the packaging folder as a module."""
    path = Path(__file__).parents[2] / "packaging" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the crash test itself ----------------------------------------------------------------------


def test_the_test_model_is_small_and_always_the_same(tmp_path: Path) -> None:
    first, again = (llama_probe.write_random_model(tmp_path / name) for name in ("a.gguf", "b.gguf"))
    assert first.read_bytes() == again.read_bytes() and first.stat().st_size < 100_000
    assert llama_probe.write_random_model(tmp_path / "c.gguf", seed=1).read_bytes() != first.read_bytes()


def test_llama_cpp_computes_with_the_test_model(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    facts: dict[str, Any] = {}
    llama_probe.probe(lambda **said: facts.update(said), tmp_path, "cpu")
    assert facts["decoded"] == 36 and "=" in facts["system_info"]


def test_a_model_that_gives_nonsense_or_does_not_load_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp")
    write = llama_probe.write_random_model

    def damaged(path: Path) -> Path:
        whole = write(path).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path

    def not_a_number(path: Path) -> Path:
        with monkeypatch.context() as inside:
            inside.setattr(llama_probe.np, "ones", lambda size, dtype: llama_probe.np.full(size, float("nan"), dtype))
            return write(path)

    for spoiled, said in ((damaged, "refuses"), (not_a_number, "nonsense")):
        monkeypatch.setattr(llama_probe, "write_random_model", spoiled)
        with pytest.raises(ModelFileError, match=said):
            llama_probe.probe(lambda **_: None, tmp_path, "cpu")


def test_graphics_cards_are_named_with_their_memory() -> None:
    card = SimpleNamespace(name="Fast Card", total_memory=80 * 2**30, major=9, minor=0)
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, get_device_properties=lambda _: card)
    torch = SimpleNamespace(cuda=cuda, backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: True)))
    found = task._devices(torch)
    assert [(one["kind"], one.get("index")) for one in found] == [
        ("cpu", None),
        ("cuda", 0),
        ("cuda", 1),
        ("mps", None),
    ]
    assert found[1] == {**found[2], "index": 0} and found[1]["capability"] == "9.0"
    assert doctor._device_words(found[1]) == "cuda (Fast Card, 80.0 GiB)"


@pytest.mark.parametrize("name", ["torch", "llama"])
def test_the_real_children_answer(name: str, tmp_path: Path) -> None:
    if name == "llama":
        pytest.importorskip("llama_cpp")
    command = (*getattr(Trials(), name), "cpu", str(tmp_path))
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert lines[0] == {"stage": "loading the library"} and lines[-1] == {"stage": "done"}
