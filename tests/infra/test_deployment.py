"""The file that an operator's decisions are kept in, and what is refused of it."""

import json

import pytest

from infra import deployment, synth
from infra.options import OptionRefused, Options

EXAMPLE = synth.ROOT / "deployment.example.json"


@pytest.fixture
def kept(tmp_path):
    """Writes a file of options; its path."""

    def write(text):
        path = tmp_path / "deployment.json"
        path.write_text(text)
        return path

    return write


def test_the_example_is_a_deployment_of_the_defaults():
    assert Options.from_context(deployment.read(EXAMPLE)) == Options()


def test_values_are_written_as_json_has_them(kept):
    given = {"production": False, "gpu": "none", "cpu_vcpus": 512, "alarm_email": "a@b.example"}
    assert Options.from_context(deployment.read(kept(json.dumps(given)))) == Options(**given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{gpu: none}", "deployment.json is not JSON"),
        ('["gpu"]', r'deployment.json holds \["gpu"\]'),
        ('{"alarm_mail": "a@b.example"}', "alarm_mail; the options are .*alarm_email"),
        ('{"warm_gpus": null}', "warm_gpus is null"),
        ('{"models": ["dtln"]}', r'models is \["dtln"\]'),
        ('{"stored_gb": 1.5}', "stored_gb is 1.5"),
        ('{"gpu": "a100"}', "gpu is 'a100', not spot or on-demand or none"),
        ('{"production": "no"}', "production is 'no', not true or false"),
        ('{"cpu_vcpus": "all"}', "cpu_vcpus is 'all', not a whole number"),
        ('{"cpu_vcpus": 3}', "cpu_vcpus is 3, not 4 or more"),
        ('{"warm_gpus": 17}', "warm_gpus is 17, not 0 to the 16"),
        ('{"gpu_machines": "p5.48xlarge"}', "'p5.48xlarge', not one or more of g4dn.xlarge, .*g6e"),
        ('{"models": "htdemux"}', "models has htdemux, not any of htdemucs, .*dtln"),
    ],
)
def test_what_is_no_option_is_refused_with_its_value_and_the_range(kept, text, said):
    with pytest.raises(OptionRefused, match=said):
        Options.from_context(deployment.read(kept(text)))


def test_nothing_can_be_deployed_without_the_file_that_the_command_line_is_told_of(
    kept, tmp_path, monkeypatch
):
    """Every option would go back to its default, and the committed one is of nobody."""
    monkeypatch.setenv("JSII_NODE", str(synth.registry_node()))
    import aws_cdk as cdk

    from infra.app import insist_on

    def errors(decided):
        app = cdk.App(analytics_reporting=False)
        stack = cdk.Stack(app, "Alone")
        insist_on(decided, stack=stack)
        found = app.synth().get_stack_by_name("Alone").messages
        return [str(message.entry.data) for message in found]

    (said,) = errors(tmp_path / "lost.json")
    assert "lost.json is not there" in said and EXAMPLE.name in said
    assert errors(kept("{}")) == []
    told = json.loads((synth.ROOT / "cdk.json").read_text())
    assert told["app"] == "python -m infra.app deployment.json"
    assert not set(told["context"]) & set(Options.__dataclass_fields__)
