"""What is committed is what the code synthesizes, and changes only with it."""

import json

import pytest

from infra import checks, synth


def manifest(*, code: str, image: str) -> dict[str, object]:
    return {
        "files": {
            code: {"source": {"path": "anywhere", "packaging": "zip"}},
            "f" * 64: {"source": {"path": "x.template.json", "packaging": "file"}},
        },
        "dockerImages": {image: {"source": {"dockerFile": "containers/stage.Dockerfile"}}},
    }


def template(*, code: str, image: str) -> dict[str, object]:
    return {"Resources": {"F": {"S3Key": f"{code}.zip"}, "I": {"Image": f"repository:{image}"}}}


def test_the_committed_snapshot_is_what_the_code_synthesizes(fresh):
    assert checks.snapshot_drift(fresh) == []


def test_a_changed_template_is_called_drift(fresh):
    changed = synth.Snapshot({**fresh.template, "Description": "another"}, fresh.assets)
    assert checks.snapshot_drift(changed) == [
        "clearstem.template.json is not what the code synthesizes: run `make snapshot`"
    ]


def test_changed_source_does_not_change_the_snapshot():
    before, after = (
        synth.normalized(
            template(code=code, image=image), manifest=manifest(code=code, image=image)
        )
        for code, image in (("a" * 64, "b" * 64), ("c" * 64, "d" * 64))
    )
    assert before == after
    assert before.template["Resources"] == {
        "F": {"S3Key": "functions.zip"},
        "I": {"Image": "repository:stage"},
    }


def test_a_zip_the_twin_would_not_know_is_refused():
    unknown = manifest(code="a" * 64, image="b" * 64)
    unknown["files"]["e" * 64] = {"source": {"path": "more", "packaging": "zip"}}
    with pytest.raises(synth.SynthFailed, match="2 zip assets"):
        synth.normalized(template(code="a" * 64, image="b" * 64), manifest=unknown)


def test_every_asset_is_made_of_folders_of_the_repository():
    assets = json.loads(synth.ASSETS_FILE.read_text())
    assert assets == {"functions": ["clearstem", "functions"]}
    assert all((synth.ROOT / folder).is_dir() for folder in assets["functions"])


def test_the_snapshot_names_no_machine_and_no_hash(fresh):
    text = synth.as_text(fresh.template)
    assert str(synth.ROOT) not in text
    zips = [
        resource["Properties"]["Code"]["S3Key"]
        for resource in fresh.template["Resources"].values()
        if "S3Key" in resource.get("Properties", {}).get("Code", {})
    ]
    assert zips == ["functions.zip"] * 10


def test_a_failing_synth_says_what_cdk_said(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("no folder can be made below this")
    with pytest.raises(synth.SynthFailed, match=r"ENOTDIR|not a directory"):
        synth.run_app(taken / "out", root=synth.ROOT)


def test_node_comes_from_the_pinned_packages():
    assert synth.registry_node().is_file()
