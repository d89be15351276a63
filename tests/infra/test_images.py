"""The images: nobody's root, pinned, and installing what the stages are tested with.

There is no Docker here. The files are linted and read as Docker would, and what can be run of
their steps is run.
"""

import json
import os
import queue
import re
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from urllib.parse import quote

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra import checks, synth
from tests.infra.reading import of_type

STAGES = ("stage", "stage-cpu")
IMAGES = (*STAGES, "stream")


def dockerfile(name):
    return (synth.ROOT / "containers" / f"{name}.Dockerfile").read_text()


def instructions(name):
    """Every instruction as (word, rest), continuation lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile(name), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.strip().split(None, 1)) for line in lines if line.strip()]


def last_stage(name):
    found = instructions(name)
    start = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_image_runs_the_stage_entry(name):
    assert ("ENTRYPOINT", '["python", "-m", "containers.stage"]') in last_stage(name)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_ends_as_nobody_in_particular(name):
    users = [rest for word, rest in last_stage(name) if word == "USER"]
    assert users and re.fullmatch(r"[1-9]\d+", users[-1])


@pytest.mark.parametrize("name", IMAGES)
def test_every_base_is_a_build_argument_pinned_to_a_releases_digest(name):
    arguments = dict(rest.split("=", 1) for word, rest in instructions(name) if word == "ARG")
    bases = [rest.split()[0] for word, rest in instructions(name) if word == "FROM"]
    assert bases
    for base in bases:
        default = arguments[re.fullmatch(r"\$\{(\w+)\}", base)[1]]
        assert re.search(r":\d+\.\d+\.\d+\S*@sha256:[0-9a-f]{64}$", default)


@pytest.mark.parametrize("name", IMAGES)
def test_what_builds_stays_out_of_what_runs(name):
    final = last_stage(name)
    assert not any("pip install" in rest for word, rest in final if word == "RUN")
    assert any(rest.startswith("--from=installed /opt/venv") for word, rest in final)


def _hadolint(folder):
    why, problems = checks.dockerfile_problems(folder)
    if why:
        pytest.skip(why)
    return problems


def test_hadolint_finds_nothing():
    assert _hadolint(synth.ROOT / "containers") == []


def test_hadolint_would_find_something(tmp_path):
    (tmp_path / "bad.Dockerfile").write_text("FROM python:latest\nRUN cd /srv && sudo make\n")
    found = {problem.split()[3] for problem in _hadolint(tmp_path)}
    assert {"DL3003", "DL3004", "DL3007"} <= found


def test_a_hadolint_that_gives_up_is_a_problem_in_its_own_words(tmp_path):
    (tmp_path / "gone.Dockerfile").symlink_to(tmp_path / "nowhere")
    (problem,) = _hadolint(tmp_path)
    assert "gone.Dockerfile" in problem and "does not exist" in problem


def test_hadolint_asked_of_no_file_is_a_problem_in_its_own_words(tmp_path):
    (problem,) = _hadolint(tmp_path)
    assert "Please provide a Dockerfile" in problem


@pytest.mark.parametrize("name", IMAGES)
def test_pip_keeps_no_cache_in_an_image(name):
    environment = " ".join(rest for word, rest in instructions(name) if word == "ENV")
    assert "PIP_NO_CACHE_DIR=1" in environment  # hadolint's DL3042 sees the flag alone


@pytest.mark.parametrize("name", IMAGES)
def test_every_install_keeps_to_the_constraints_and_builds_nothing(name):
    installs = re.findall(r"pip install [^&]*", " ".join(rest for _, rest in instructions(name)))
    assert installs
    assert all("--constraint constraints.txt" in install for install in installs)
    assert all("--only-binary=:all:" in install for install in installs)


@pytest.mark.parametrize("name", STAGES)
def test_weights_come_by_the_command_that_checks_their_sum(name):
    (fetch,) = (rest for word, rest in instructions(name) if "models fetch" in rest)
    assert "CLEARSTEM_MODELS_DIR=/opt/models" in fetch
    final = " ".join(rest for _, rest in last_stage(name))
    assert "/opt/models /opt/models" in final and "HF_HUB_OFFLINE=1" in final


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("missing", ["first", "second"])
def test_an_image_that_lacks_one_of_its_models_is_not_built(name, missing):
    (fetch,) = (rest for word, rest in instructions(name) if "models fetch" in rest)
    asked = "/opt/venv/bin/python -m clearstem.cli models fetch"
    loop = fetch[fetch.index("for model") :].replace(asked, f"test {missing} !=")
    for models, built in (("first second", False), ("third", True), ("", True)):
        done = subprocess.run(["sh", "-c", loop], env={"MODELS": models}, check=False)
        assert (done.returncode == 0) is built


@pytest.mark.parametrize("name", STAGES)
def test_all_that_a_stage_writes_is_under_the_one_writable_folder(name):
    environment = " ".join(rest for word, rest in last_stage(name) if word == "ENV")
    assert "HOME=/tmp" in environment and "NUMBA_CACHE_DIR=/tmp/" in environment
    assert ("VOLUME", '["/tmp"]') in last_stage(name)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_image_compiles_its_kernels_once_where_no_task_may_write(name):
    final = last_stage(name)
    (place,) = (i for i, (word, rest) in enumerate(final) if "containers.bake" in rest)
    (folder,) = re.findall(r"^python -m containers.bake (/opt/\S+) ", final[place][1])
    environment = " ".join(rest for word, rest in final if word == "ENV")
    assert f"CLEARSTEM_KERNELS_DIR={folder} " in environment
    words = [word for word, _ in final]
    assert words.index("ENV") < place < words.index("USER")
    # Named for the very processor of the build they would be found on no other.
    assert "NUMBA_CPU" not in environment


def _requirements(name):
    """What the image's own program writes to requirements.txt, run as the image runs it."""
    (program,) = re.findall(r'python -c "(import tomllib.*?)"', dockerfile(name))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=synth.ROOT, capture_output=True, text=True, check=True
    )
    return [Requirement(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("stage", {"boto3", "torch", "demucs", "librosa", "soundfile"}),
        (
            "stage-cpu",
            {"boto3", "torch", "demucs", "librosa", "soundfile", "openvino", "awslambdaric"},
        ),
        ("stream", {"boto3", "fastapi", "uvicorn"}),
    ],
)
def test_the_requirements_are_the_projects_own_each_with_one_version(name, wanted):
    lines = (synth.ROOT / "constraints.txt").read_text().splitlines()
    pinned_lines = (line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(package): version for package, version in pinned_lines}
    requirements = _requirements(name)
    assert wanted <= {requirement.name for requirement in requirements}
    for requirement in requirements:
        pinned = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), requirement
        # What runs these tests is what the image holds.
        assert metadata.version(requirement.name).partition("+")[0] == pinned.partition("+")[0]


@pytest.mark.parametrize("name", IMAGES)
def test_the_last_install_of_an_image_is_content_with_what_the_tests_run_with(name, tmp_path):
    """The very command, where everything it asks for is installed: pip has nothing to fetch."""
    *_, install = re.findall(r"/opt/venv/bin/(pip install [^&]*requirements.txt)", dockerfile(name))
    wanted = [str(found) for found in _requirements(name)]
    (tmp_path / "requirements.txt").write_text("\n".join(wanted))
    (tmp_path / "constraints.txt").write_text((synth.ROOT / "constraints.txt").read_text())
    command = [sys.executable, "-m", *install.split(), "--dry-run", "--no-index"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout


def _put_wheel(index, name, version, *requires):
    """Put a package of nothing but its name on an index that is a folder."""
    folder = index / canonicalize_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    wanted = "".join(f"Requires-Dist: {each}\n" for each in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{about}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}",
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    names = sorted(quote(path.name) for path in folder.glob("*.whl"))
    (folder / "index.html").write_text("".join(f'<a href="{name}">{name}</a>' for name in names))


def _indexes(folder, pins):
    """PyPI as far as it matters here, and torch's own index, which has little else."""
    pypi, torchs = folder / "pypi", folder / "torch"
    _put_wheel(torchs, "torch", f"{pins['torch']}+cpu", "filelock", "sympy>=1.13.3")
    _put_wheel(torchs, "filelock", "3.0")
    _put_wheel(pypi, "torch", pins["torch"], "filelock", "sympy>=1.13.3", "nvidia-cublas")
    _put_wheel(pypi, "demucs", pins["demucs"], "torch>=1.8.1")
    for name in ("filelock", "sympy", "nvidia-cublas"):
        _put_wheel(pypi, name.replace("-", "_"), pins[name])
    return {"PIP_INDEX_URL": pypi.as_uri(), "TORCH_INDEX": torchs.as_uri()}


def test_the_cpu_image_gets_torchs_cpu_build_and_all_else_from_pypi(tmp_path):
    """Both installs as they stand, in an environment of their own."""
    constraints = (synth.ROOT / "constraints.txt").read_text()
    pins = dict(line.split("==") for line in constraints.splitlines() if "==" in line)
    (tmp_path / "constraints.txt").write_text(constraints)
    (tmp_path / "requirements.txt").write_text(f"demucs\ntorch=={pins['torch']}\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = f"{sys.executable} -m pip --python {tmp_path}/venv/bin/python install"
    told = _indexes(tmp_path, pins) | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    installs = re.findall(r"/opt/venv/bin/pip install [^&]*", dockerfile("stage-cpu"))
    assert len(installs) == 2
    for install in installs:
        command = install.rstrip(" \\\n").replace("/opt/venv/bin/pip install", pip)
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **told},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    installed = {each.name: each.version for each in metadata.distributions(path=[str(packages)])}
    assert installed == {
        "torch": f"{pins['torch']}+cpu",
        **{name: pins[name] for name in ("demucs", "filelock", "sympy")},
    }


class _RuntimeApi(BaseHTTPRequestHandler):
    """Lambda's side: who asks for an event has loaded its handler; nobody gets one."""

    def do_GET(self):
        self.server.asked.put(self.path)
        self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.put(f"{self.path} {body.decode()}")
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_):
        pass


def _first_word(arguments):
    """What a function's process first says to Lambda, begun as the template begins it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _RuntimeApi)
    server.asked = queue.Queue()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = f"127.0.0.1:{server.server_port}"
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=synth.ROOT,
        env={**os.environ, "AWS_LAMBDA_RUNTIME_API": api},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return server.asked.get(timeout=60)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()


def test_the_function_of_the_stages_finds_its_handler():
    template = json.loads(synth.TEMPLATE_FILE.read_text())
    (image,) = (
        function["ImageConfig"]
        for function in of_type(template, "AWS::Lambda::Function").values()
        if "ImageConfig" in function
    )
    program, *arguments = image["EntryPoint"]
    (handler,) = image["Command"]
    assert program == "python"
    assert _first_word([*arguments, handler]) == "/2018-06-01/runtime/invocation/next"
    told = _first_word([*arguments, f"{handler}_of_nobody"])
    assert told.startswith("/2018-06-01/runtime/init/error") and "HandlerNotFound" in told


@pytest.mark.parametrize("name", IMAGES)
def test_all_that_an_image_copies_is_in_its_context(name):
    allowed = (synth.ROOT / ".dockerignore").read_text().splitlines()
    copied = [rest for word, rest in instructions(name) if word == "COPY" and "--from" not in rest]
    wanted = {source for rest in copied for source in rest.split()[:-1]}
    assert {f"!{source}" for source in wanted} <= set(allowed)


def test_the_streaming_servers_application_is_found_where_the_image_looks():
    (entry,) = (rest for word, rest in last_stage("stream") if word == "ENTRYPOINT")
    module, _, name = re.search(r'"([\w.]+:\w+)"', entry)[1].partition(":")
    code = f"import {module} as m; assert callable(m.{name})"
    subprocess.run([sys.executable, "-c", code], cwd=synth.ROOT, check=True)


def smoke_command(name):
    """What the image's build runs last, as whom it ends as, word by word."""
    final = last_stage(name)
    words = [word for word, _ in final]
    (command,) = (json.loads(rest) for word, rest in final if word == "RUN" and rest[0] == "[")
    place = next(i for i, (word, rest) in enumerate(final) if word == "RUN" and rest[0] == "[")
    assert words.index("USER") < place < words.index("ENTRYPOINT")
    return command


def smoked(name, tmp_path, **environment):
    """The smoke command with this interpreter, told no more than the image tells it."""
    program, *arguments = smoke_command(name)
    assert program == "python"
    told = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=synth.ROOT,
        env=told | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_stage_images_smoke_command_takes_music_through_every_stage(tmp_path):
    assert smoke_command("stage") == smoke_command("stage-cpu")
    done = smoked("stage-cpu", tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"separate: 9 tracks in [\d.]+ s\ndenoise: 1 tracks in [\d.]+ s\n", done.stdout
    )
    # BuildKit would keep it below the volume, and a task would find no room for its own kernels.
    assert not list(tmp_path.iterdir())


def test_a_stage_image_that_lacks_a_library_fails_its_smoke_command(tmp_path):
    (tmp_path / "av.py").write_text("raise ImportError('libavcodec.so.61 is missing')")
    done = smoked("stage-cpu", tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0 and "is missing" in done.stderr


def test_the_streaming_images_smoke_command_gets_a_good_answer(tmp_path):
    done = smoked("stream", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('200 {"status":"healthy"')
